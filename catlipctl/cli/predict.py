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
        list[Path],
        typer.Argument(
            metavar="IMAGE...", help="Image files, folders of them, or quoted patterns: 'photos/**/*.jpg'."
        ),
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
        names = _shortened([answer.name for answer in result.images])
        for answer, name in zip(result.images, names, strict=True):
            if answer.fault is not None:
                out.warn(answer.fault)
            for rank, label in enumerate(answer.labels):
                shown.add_row(
                    "" if rank else name, label.label, label.description, f"{label.probability:.3f}"
                )
        if result.skipped:
            kinds = ", ".join(
                f"{count:,} {suffix or 'without suffix'}" for suffix, count in result.skipped.items()
            )
            out.warn(f"skipped files that are not images by their names: {kinds}")
        out.result(result, shown)


def _shortened(names: Sequence[str]) -> list[str]:
    """Names that fit a table's column, cut in the middle; whole where a cut would make two of them one."""
    short = [
        name if len(name) <= WIDEST_NAME else f"{name[: WIDEST_NAME // 3]}…{name[1 - WIDEST_NAME * 2 // 3 :]}"
        for name in names
    ]
    uses = Counter(short)
    return [cut if uses[cut] == 1 else name for cut, name in zip(short, names, strict=True)]
