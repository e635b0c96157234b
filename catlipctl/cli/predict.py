"""`catlipctl predict`: what a checkpoint sees in images."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from catlipctl.cli import inputs
from catlipctl.cli.options import Checkpoint, Json
from catlipctl.cli.output import command
from catlipctl.cli.tables import table

WIDEST_NAME = 32


def predict(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.")
    ],
    checkpoint: Checkpoint = None,
    top: Annotated[int, typer.Option(min=1, help="How many labels an image.")] = 5,
    json: Json = False,
) -> None:
    """Name what is in images: the most probable labels or synsets."""
    with command("predict", json=json) as out:
        from catlipctl import checkpoints
        from catlipctl.transfer import predict as predict_images

        result = predict_images(
            checkpoints.load(inputs.checkpoint(checkpoint, None, out)), images, top, progress=out
        )
        probability = f"probability ({result.probabilities})"
        shown = table("image", "label", "", probability, numbers=[probability])
        shown.columns[0].no_wrap = True
        names = _short_names([answer.image for answer in result.images])
        for answer in result.images:
            if answer.fault is not None:
                out.warn(f"{answer.image}: {answer.fault}")
            for rank, label in enumerate(answer.labels):
                name = names[answer.image] if rank == 0 else ""
                shown.add_row(name, label.label, label.description, f"{label.probability:.3f}")
        out.result(result, shown)


def _short_names(images: Sequence[str]) -> dict[str, str]:
    """Path -> file name, or the path's end where two share a name: a table's column, never folded."""
    uses = Counter(Path(image).name for image in images)
    shown = {image: name if uses[name := Path(image).name] == 1 else image for image in images}
    return {
        image: name if len(name) <= WIDEST_NAME else "…" + name[1 - WIDEST_NAME :]
        for image, name in shown.items()
    }
