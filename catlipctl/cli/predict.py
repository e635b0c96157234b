"""`catlipctl predict`: what a checkpoint sees in images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli.options import Json
from catlipctl.cli.output import Output, age, command
from catlipctl.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.checkpoints import Checkpoint


def predict(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.")
    ],
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="A run, a checkpoint, or timm:NAME. Default: the newest run under ./runs.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many labels an image.")] = 5,
    json: Json = False,
) -> None:
    """Name what is in images: the most probable labels or synsets."""
    with command("predict", json=json) as out:
        from catlipctl.transfer import predict as predict_images

        result = predict_images(chosen_checkpoint(checkpoint, out), images, top, progress=out)
        shown = table("image", "label", "", "probability")
        for answer in result.images:
            if answer.fault is not None:
                out.warn(f"{answer.image}: {answer.fault}")
            for rank, label in enumerate(answer.labels):
                name = answer.image if rank == 0 else ""
                shown.add_row(name, label.label, label.description, f"{label.probability:.3f}")
        out.result(result, shown)


def chosen_checkpoint(spec: str | None, out: Output) -> "Checkpoint":
    """The checkpoint that was named, or the newest run's, said so on stderr."""
    from catlipctl import checkpoints

    if spec is None:
        run = checkpoints.newest_run()
        out.uses("checkpoint", str(run.path), f"newest run, {age(run.age_seconds)}")
        return checkpoints.load(run.path)
    if not spec:
        raise UsageError(
            "the checkpoint's name is empty", "name a run, its checkpoints/, one step-*, or timm:NAME"
        )
    out.uses("checkpoint", spec)
    return checkpoints.load(spec)


def table(*columns: str) -> "Table":
    """An empty table in the house style."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made
