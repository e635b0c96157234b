"""`catlipctl eval all` and `zero-shot`: probes of a frozen tower, from features that are extracted once."""

from pathlib import Path
from typing import Annotated

import typer

from catlipctl.cli import inputs
from catlipctl.cli.accuracies import shared, together
from catlipctl.cli.evaluate import Data, Target, Test
from catlipctl.cli.label_sets import label_set
from catlipctl.cli.options import (
    CacheDir,
    Checkpoint,
    CheckpointWord,
    Gpus,
    ImageKey,
    Json,
    LabelBase,
    LabelKey,
    Mapping,
    MultiLabel,
    NoCache,
    Processes,
    Rows,
)
from catlipctl.cli.output import command, is_main, only_main_speaks

Seed = Annotated[int, typer.Option(help="Decides the split where the data has none.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that read images.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="The folder to write, with result.json and predictions.csv of each evaluation; it may not "
        "exist. Default: RUN/eval/NAME-DATA-N for each.",
        show_default=False,
    ),
]


def zero_shot(
    data: Data,
    checkpoint: Checkpoint = None,
    word: CheckpointWord = None,
    test: Test = None,
    target: Target = None,
    mapping: Mapping = "heads",
    rows: Rows = "calibrated",
    seed: Seed = 0,
    workers: Workers = 0,
    out_dir: Out = None,
    gpus: Gpus = None,
    processes: Processes = None,
    label_key: LabelKey = None,
    label_base: LabelBase = None,
    multi_label: MultiLabel = None,
    image_key: ImageKey = None,
    cache_dir: CacheDir = None,
    no_cache: NoCache = False,
    json: Json = False,
) -> None:
    """Test the rows that Transfer Init finds for the classes, or a text tower: no label is used."""
    _evaluate(("zero-shot",), **locals())


def all_(
    data: Data,
    checkpoint: Checkpoint = None,
    word: CheckpointWord = None,
    test: Test = None,
    target: Target = None,
    mapping: Mapping = "heads",
    rows: Rows = "calibrated",
    random_backbone: Annotated[
        bool,
        typer.Option("--random-backbone", help="The control: the same tower, untrained."),
    ] = False,
    seed: Seed = 0,
    workers: Workers = 0,
    out_dir: Out = None,
    gpus: Gpus = None,
    processes: Processes = None,
    label_key: LabelKey = None,
    label_base: LabelBase = None,
    multi_label: MultiLabel = None,
    image_key: ImageKey = None,
    cache_dir: CacheDir = None,
    no_cache: NoCache = False,
    json: Json = False,
) -> None:
    """Extract features once, and evaluate them in every way: each leaves what its own command would."""
    _evaluate(None, **locals())


def _evaluate(
    names: tuple[str, ...] | None,
    *,
    data: str,
    checkpoint: str | None,
    word: str | None,
    test: str | None,
    target: str | None,
    mapping: Mapping,
    rows: Rows,
    seed: int,
    workers: int,
    out_dir: Path | None,
    gpus: int | None,
    processes: int | None,
    label_key: str | None,
    label_base: int | None,
    multi_label: bool | None,
    image_key: str | None,
    cache_dir: Path | None,
    no_cache: bool,
    json: bool,
    random_backbone: bool = False,
) -> None:
    """The probes of these names, or all of them."""
    with command(f"eval {names[0] if names else 'all'}", json=json) as out:
        from catlipctl import checkpoints, files, transfer
        from catlipctl.data import emoji
        from catlipctl.data.sources.locate import slug
        from catlipctl.transfer.labelled import open_splits
        from catlipctl.transfer.probes import PROBES

        if target is None and data.startswith(emoji.TRANSFER):
            target = "emoji"
        labelset = (
            None if target is None else label_set(target, out, multi_label=multi_label, mapping=mapping)
        )
        if out_dir is not None:
            files.refuse_taken(out_dir)
        named = inputs.checkpoint(checkpoint, word, out)
        only_main_speaks()
        cpu = inputs.only_here(gpus, processes, out, [] if checkpoint or word else ["--checkpoint", named])
        train_source, test_source = open_splits(
            data, test, label_key=label_key, image_key=image_key, cache_dir=cache_dir, progress=out
        )
        out.uses("data", data)
        loaded = checkpoints.load(named, weights=not random_backbone)
        control = "-untrained" if random_backbone else ""
        folders = {
            name: (out_dir if names else out_dir / name)
            if out_dir
            else files.unused(loaded.run / "eval" / f"{name}-{slug(data)}{control}", numbered=True)
            for name in names or PROBES
        }
        result = transfer.evaluate(
            loaded,
            train_source,
            test_source,
            folders=folders,
            target=labelset,
            mapping=mapping,
            rows=rows,
            multi_label=multi_label,
            label_base=label_base,
            random_backbone=random_backbone,
            seed=seed,
            cache=inputs.feature_cache(cache_dir, no_cache),
            cpu=cpu,
            workers=workers,
            progress=out,
        )
        if is_main():
            written = [f"wrote {folder}" for folder in result.folders.values()]
            out.result(result, together(result), shared(result), *written)
