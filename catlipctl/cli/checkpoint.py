"""`catlipctl checkpoint inspect|verify|gather|import|export`: what is in one; from others, and for them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from catlipctl.cli import inputs
from catlipctl.cli.options import FROM_OTHERS, Checkpoint, CheckpointWord, Json, OwnCheckpoint
from catlipctl.cli.output import command
from catlipctl.cli.tables import facts, table
from catlipctl.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.checkpoints import Inspection


def inspect(checkpoint: Checkpoint = None, word: CheckpointWord = None, json: Json = False) -> None:
    """Show a checkpoint's tower, head, labels, origin and files."""
    with command("checkpoint inspect", json=json) as out:
        from catlipctl import checkpoints

        result = checkpoints.inspect(inputs.checkpoint(checkpoint, word, out))
        out.result(result, *_tables(result))


def verify(checkpoint: OwnCheckpoint = None, word: CheckpointWord = None, json: Json = False) -> None:
    """Compare every file of a checkpoint with its manifest, by size and SHA-256."""
    with command("checkpoint verify", json=json) as out:
        from catlipctl import checkpoints

        result = checkpoints.verify(checkpoints.resolve(inputs.checkpoint(checkpoint, word, out)))
        shown = table("file", "bytes", "SHA-256", "", numbers=["bytes"])
        for name, entry in result.files.items():
            shown.add_row(name, f"{entry.bytes:,}", entry.sha256[:16], "ok")
        for name in result.unlisted:
            shown.add_row(name, "", "", "not in the manifest")
        whole = f"{result.directory}: {len(result.files)} files, {result.bytes / 2**20:,.1f} MiB, all whole"
        out.result(result, shown, whole)


def gather(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The new checkpoint.", show_default=False)
    ],
    checkpoint: OwnCheckpoint = None,
    word: CheckpointWord = None,
    json: Json = False,
) -> None:
    """Copy a checkpoint of sharded training with its state in one file, as one process writes it.

    Resuming needs no such copy: it reads shards on any number of processes.
    """
    with command("checkpoint gather", json=json) as out_:
        from catlipctl import checkpoints

        result = checkpoints.gather(checkpoints.resolve(inputs.checkpoint(checkpoint, word, out_)), out)
        gathered = f"{result.tensors:,} tensors of {result.shards} shards, {result.bytes / 2**20:,.1f} MiB"
        out_.result(result, f"{result.out}: {gathered}, in one file")


def import_(
    origin: Annotated[str, typer.Argument(metavar="ORIGIN", help=FROM_OTHERS)],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="The new checkpoint; it may not exist.", show_default=False
        ),
    ],
    vocab: Annotated[
        Path | None,
        typer.Option(
            "--vocab",
            metavar="FILE",
            help="What the classes of its head mean: CatLIP's released pickle, of which no code is run, or a "
            "vocabulary.json.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write what others trained as a checkpoint of ours, every key of its file accounted for.

    Without a vocabulary, or ImageNet's classes, nothing says what its head's rows mean: Random Init only.
    """
    with command("checkpoint import", json=json) as out_:
        from catlipctl import checkpoints

        result = checkpoints.import_checkpoint(origin, out, vocab)
        out_.uses("checkpoint", result.origin)
        if result.vocabulary is not None:
            out_.uses("vocabulary", result.vocabulary)
        for remark in result.remarks:
            out_.warn(remark)
        shown = facts(
            {
                "architecture": result.architecture,
                "parameters": f"{result.parameters:,}",
                "image size": f"{result.image_size} px",
                "classes": f"{result.classes:,}",
                "text tower": "yes" if result.text_tower else None,
                "keys read": result.keys,
                "keys ignored": "; ".join(result.ignored),
                "Transfer Init": "yes" if result.transfer_init else "no: Random Init only",
            }
        )
        out_.result(result, shown, f"wrote {result.checkpoint}")


def export(
    to: Annotated[
        Literal["timm", "onnx"],
        typer.Option("--to", help="timm: a folder for timm and the Hub, with a model card. onnx: a file."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="PATH",
            help="The folder, or of ONNX the file NAME.onnx; it may not exist.",
            show_default=False,
        ),
    ],
    checkpoint: Checkpoint = None,
    word: CheckpointWord = None,
    precision: Annotated[
        Literal["fp32", "fp16"] | None,
        typer.Option(
            "--precision",
            help="Of ONNX: how weights are kept and computed with; images and logits stay float32. "
            "Default: fp32.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write a checkpoint as timm and the Hub open it, or as ONNX; its logits are compared first."""
    with command("checkpoint export", json=json) as out_:
        if precision is not None and to != "onnx":
            raise UsageError(f"--precision is of ONNX, and this is --to {to}", "leave --precision out")
        from catlipctl import checkpoints, files

        files.refuse_taken(out)
        loaded = checkpoints.load(inputs.checkpoint(checkpoint, word, out_))
        if to == "timm":
            result = checkpoints.export_timm(loaded, out)
        else:
            result = checkpoints.export_onnx(loaded, out, precision or "fp32")
        for remark in result.remarks:
            out_.warn(remark)
        shown = table("file", "bytes", numbers=["bytes"])
        for name, size in result.files.items():
            shown.add_row(name, f"{size:,}")
        checked = (
            f"{result.out} gives the {result.output} of {loaded.name}: they differ by at most "
            f"{result.largest_difference:.1g}, and the largest is {result.largest_output:.3g}"
        )
        out_.result(result, shown, checked)


def _tables(found: "Inspection") -> list["Table | str"]:
    about = facts(
        {
            "path": found.path,
            "architecture": found.architecture,
            "parameters": f"{found.parameters:,} ({found.head_parameters:,} in the head)",
            "head": found.head,
            "image size": f"{found.image_size} px",
            "features": found.features,
            "classes": f"{found.classes:,}",
            "problem type": found.problem_type,
            "first labels": ", ".join(found.labels),
            "vocabulary": found.vocabulary,
            "text tower": "yes" if found.text_tower else None,
            **{key: _plain(value) for key, value in found.about.items() if not isinstance(value, dict)},
            "resumable": _resumable(found),
        }
    )
    files = table("file", "bytes", numbers=["bytes"])
    for name, size in found.files.items():
        files.add_row(name, f"{size:,}")
    return [about, files] if found.files else [about]


def _plain(value: object) -> object:
    return "; ".join(map(str, value)) if isinstance(value, list) else value


def _resumable(found: "Inspection") -> str:
    shards = f", its state is in {found.shards} shards" if found.shards else ""
    return f"yes{shards}" if found.resumable else "no"
