"""`catlipctl eval lp`: what a frozen tower's features are worth to a linear classifier."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from catlipctl.cli import inputs
from catlipctl.cli.options import CacheDir, Checkpoint, ImageKey, Json, LabelKey
from catlipctl.cli.output import command
from catlipctl.cli.tables import facts

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.transfer import ProbeResult


def linear_probe(
    checkpoint: Checkpoint = None,
    data: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="Labelled images: class folders, tars, Parquet; or emoji:transfer, the embedded ones. "
            "A folder's train/ and test/ (or val/) are used as such.",
            show_default=False,
        ),
    ] = ...,  # type: ignore[assignment]
    test: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Test images. Default: the test/ or val/ beside the folder train/, whether --data names "
            "train/ or what it is in; else 20 % of --data, stratified by seed.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="The label set whose labels the class names are. Default: names looked up in WordNet; for "
            "emoji:transfer, emoji.",
            show_default=False,
        ),
    ] = None,
    train_size: Annotated[str, typer.Option(help="Training images used: 5/class, or 10%.")] = "100%",
    init: Annotated[
        Literal["transfer", "random"],
        typer.Option(help="Transfer Init as the prior, its weight tuned; or none."),
    ] = "transfer",
    random_backbone: Annotated[
        bool, typer.Option("--random-backbone", help="The control: the same tower, untrained.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Decides splits, subsets and the untrained tower.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.")] = 0,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The checkpoint to write, with result.json; it may not exist. Default: RUN/eval/lp-DATA-N.",
            show_default=False,
        ),
    ] = None,
    label_key: LabelKey = None,
    image_key: ImageKey = None,
    cache_dir: CacheDir = None,
    json: Json = False,
) -> None:
    """Fit a linear classifier to frozen features, with Transfer Init as its prior, and test it."""
    with command("eval lp", json=json) as out:
        from catlipctl import checkpoints, files, transfer
        from catlipctl.labels import targets
        from catlipctl.transfer import folders, splits

        splits.TrainSize.parse(train_size)
        if target is None and data.startswith(splits.EMOJI):
            target = "emoji"
        labelset = None if target is None else targets.load(target)
        # The checkpoint's name stands on the first line; it is loaded last, for it may be a download.
        named = inputs.checkpoint(checkpoint, out)
        train_source, test_source = splits.open_splits(
            data, test, label_key=label_key, image_key=image_key, cache_dir=cache_dir, progress=out
        )
        out.uses("data", data)
        loaded = checkpoints.load(named)
        result = transfer.linear_probe(
            loaded,
            train_source,
            test_source,
            target=labelset,
            train_size=train_size,
            init=init,
            random_backbone=random_backbone,
            seed=seed,
            out=out_dir or files.unused(folders.run_of(loaded) / "eval" / f"lp-{_slug(data)}", numbered=True),
            workers=workers,
            progress=out,
        )
        written = f"wrote {result.checkpoint}, with result.json"
        next_step = f"try it: catlipctl predict IMAGE... --checkpoint {result.checkpoint}"
        out.result(result, _table(result), written, next_step)


def _table(result: "ProbeResult") -> "Table":
    return facts(
        {
            "top-1 accuracy": f"{result.acc1:.1%}",
            "top-5 accuracy": f"{result.acc5:.1%}",
            "mean recall of the classes": f"{result.mean_per_class_recall:.1%}",
            "zero-shot top-1": "no mapped head"
            if result.zero_shot_acc1 is None
            else f"{result.zero_shot_acc1:.1%} (no label used; centred on the unlabelled training images)",
            "share of the largest class": f"{result.majority_share:.1%}",
            "classes": f"{result.classes:,}",
            "training images": f"{result.train_images:,} ({result.train_size})",
            "test images": f"{result.test_images:,} ({result.split})",
            "left out": f"{result.unreadable:,} unreadable, {result.unlabelled:,} without a label",
            "prior": ", ".join(f"{n} {how}" for how, n in result.prior.items() if n) or "none",
            "lambda, s": f"{_number(result.choice.regularisation)}, {result.choice.prior_scale:g}",
            "chosen by": result.choice.how,
            "protocol": result.protocol,
        }
    )


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"


def _slug(data: str) -> str:
    """A folder's name for a SOURCE: `emoji:transfer` is emoji-transfer, `photos/train` photos."""
    parts = [part for part in re.split(r"[/:]", data) if part not in ("", ".", "..", "train")]
    name = "-".join(parts) if data.startswith(("emoji:", "hf:")) else (parts or ["data"])[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "data"
