"""`catlipctl predict`: what a checkpoint sees in images."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import inputs
from catlipctl.cli.options import CacheDir, Checkpoint, ImageKey, Json, TagList
from catlipctl.cli.output import command
from catlipctl.cli.tables import table

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.transfer.prediction import Predictions, Tags

WIDEST_NAME = 32


def predict(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...",
            help="Image files, folders of them, quoted patterns ('photos/**/*.jpg'), or what --data takes "
            "elsewhere: tars, Parquet, listings, hf:ORG/NAME.",
        ),
    ],
    checkpoint: Checkpoint = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many labels an image. Default: 5; all with --threshold, and those of a tagger that "
            "pass its thresholds.",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Labels with at least this probability. Default: 0.5 for a classifier of several labels an "
            "image.",
            show_default=False,
        ),
    ] = None,
    out_file: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write a row an image to FILE.jsonl or FILE.parquet. The same command again goes on where "
            "one stopped.",
            show_default=False,
        ),
    ] = None,
    tags: TagList = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes that read images. Default: none below 1,000 images, else one a core, at most 8.",
            show_default=False,
        ),
    ] = None,
    image_key: ImageKey = None,
    cache_dir: CacheDir = None,
    json: Json = False,
) -> None:
    """Name what is in images: the most probable labels or synsets."""
    with command("predict", json=json) as out:
        from catlipctl import checkpoints
        from catlipctl.labels import targets
        from catlipctl.transfer import prediction, tagging

        if out_file is not None:
            prediction.check_out(out_file)
        wanted = None if tags is None else targets.listed(tags)
        loaded = checkpoints.load(inputs.checkpoint(checkpoint, None, out))
        if wanted is not None:
            loaded = tagging.tagger_of(loaded, wanted, progress=out)
        found = prediction.open_inputs(images, image_key=image_key, cache_dir=cache_dir, progress=out)
        if found.skipped:
            kinds = ", ".join(
                f"{count:,} {suffix or 'without suffix'}" for suffix, count in found.skipped.most_common()
            )
            out.warn(f"skipped files that are not images by their names: {kinds}")
        if out_file is None:
            result = prediction.predict(
                loaded, found, top, threshold=threshold, workers=workers, progress=out
            )
            for answer in result.images:
                if answer.fault is not None:
                    out.warn(answer.fault)
            out.result(result, _labels(result))
            return
        choice = prediction.Choice(top, threshold)
        told = prediction.write_tags(loaded, found, choice, out_file, workers=workers, progress=out)
        for fault in told.faults:
            out.warn(fault)
        written = f"{told.out}: {told.rows:,} images, {told.unreadable:,} of them without labels for a fault"
        out.result(told, _frequent(told), written)


def _labels(result: "Predictions") -> "Table":
    """The labels of each image."""
    probability = f"probability ({result.probabilities})"
    shown = table("image", "label", "", probability, numbers=[probability])
    shown.columns[0].no_wrap = True
    names = _shortened([answer.name for answer in result.images])
    for answer, name in zip(result.images, names, strict=True):
        for rank, label in enumerate(answer.labels):
            shown.add_row("" if rank else name, label.label, label.description, f"{label.probability:.3f}")
        if answer.fault is None and not answer.labels:
            shown.add_row(name, "", "none is as probable", "")
    return shown


def _frequent(tags: "Tags") -> "Table":
    """The labels that most images have."""
    shown = table("most frequent", "images", numbers=["images"])
    for label, count in tags.labels.items():
        shown.add_row(label, f"{count:,}")
    return shown


def _shortened(names: Sequence[str]) -> list[str]:
    """Names that fit a table's column, cut in the middle; whole where a cut would make two of them one."""
    short = [
        name if len(name) <= WIDEST_NAME else f"{name[: WIDEST_NAME // 3]}…{name[1 - WIDEST_NAME * 2 // 3 :]}"
        for name in names
    ]
    uses = Counter(short)
    return [cut if uses[cut] == 1 else name for cut, name in zip(short, names, strict=True)]
