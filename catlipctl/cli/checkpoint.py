"""`catlipctl checkpoint inspect|verify`: what is in a checkpoint, and whether it is whole."""

from typing import TYPE_CHECKING, Any

from catlipctl.cli.options import Checkpoint, Json
from catlipctl.cli.output import Output, age, command

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.checkpoints import Inspection


def inspect(checkpoint: Checkpoint = None, json: Json = False) -> None:
    """Show a checkpoint's tower, head, labels, origin and files."""
    with command("checkpoint inspect", json=json) as out:
        from catlipctl import checkpoints

        result = checkpoints.inspect(_chosen(checkpoint, out))
        out.result(result, *_tables(result))


def verify(checkpoint: Checkpoint = None, json: Json = False) -> None:
    """Compare every file of a checkpoint with its manifest, by size and SHA-256."""
    with command("checkpoint verify", json=json) as out:
        from catlipctl import checkpoints

        result = checkpoints.verify(checkpoints.resolve(_chosen(checkpoint, out)))
        table = _table("file", "bytes", "SHA-256", "")
        for name, entry in result.files.items():
            table.add_row(name, f"{entry.bytes:,}", entry.sha256[:16], "ok")
        for name in result.unlisted:
            table.add_row(name, "", "", "not in the manifest")
        whole = f"{result.directory}: {len(result.files)} files, {result.bytes / 2**20:,.1f} MiB, all whole"
        out.result(result, table, whole)


def _chosen(checkpoint: str | None, out: Output) -> str:
    from catlipctl import checkpoints

    if checkpoint is not None:
        out.uses("checkpoint", checkpoint)
        return checkpoint
    run = checkpoints.newest_run()
    out.uses("checkpoint", str(run.path), f"newest run, {age(run.age_seconds)}")
    return str(run.path)


def _tables(found: "Inspection") -> list["Table | str"]:
    facts: dict[str, Any] = {
        "path": found.path,
        "architecture": found.architecture,
        "parameters": f"{found.parameters:,} ({found.head_parameters:,} in the head)",
        "image size": f"{found.image_size} px",
        "features": found.features,
        "classes": f"{found.classes:,}",
        "first labels": ", ".join(found.labels),
        "vocabulary": found.vocabulary,
        **{key: _short(value) for key, value in found.about.items()},
        "resumable": "yes" if found.resumable else "no",
    }
    about = _table("", "")
    for key, value in facts.items():
        if value not in (None, ""):
            about.add_row(key, str(value))
    files = _table("file", "bytes")
    for name, size in found.files.items():
        files.add_row(name, f"{size:,}")
    return [about, files] if found.files else [about]


def _short(value: Any) -> str:
    """A value of the config; of a whole recipe only its name."""
    if isinstance(value, dict):
        return str(value.get("name", f"{len(value)} entries"))
    return str(value)


def _table(*columns: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_header=any(columns), pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column == "bytes" else "left", overflow="fold")
    return table
