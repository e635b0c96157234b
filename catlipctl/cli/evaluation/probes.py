"""`catlipctl eval all`, `knn`, `zero-shot` and `attentive`: probes of a frozen tower."""

from pathlib import Path
from typing import Annotated, Any

import typer

from catlipctl.cli.evaluation.accuracies import attended, shared, together
from catlipctl.cli.evaluation.opening import opened_for
from catlipctl.cli.evaluation.options import Data, RandomBackbone, Target, Test
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
from catlipctl.cli.output import command, is_main

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


def knn(
    data: Data,
    checkpoint: Checkpoint = None,
    word: CheckpointWord = None,
    test: Test = None,
    target: Target = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Nearest training images that vote.")] = 20,
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature",
            min=0.001,
            max=1000,
            help="Each votes with exp(cosine / temperature): the smaller, the more the nearest count.",
        ),
    ] = 0.07,
    random_backbone: RandomBackbone = False,
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
    """Classify each test image by the training images whose features are nearest: DINO's weighted vote."""
    given = locals()
    options = {name: given.pop(name) for name in ("k", "temperature")}
    _evaluate(("knn",), options=options, **given)


def all_(
    data: Data,
    checkpoint: Checkpoint = None,
    word: CheckpointWord = None,
    test: Test = None,
    target: Target = None,
    mapping: Mapping = "heads",
    rows: Rows = "calibrated",
    random_backbone: RandomBackbone = False,
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


def attentive(
    data: Data,
    checkpoint: Checkpoint = None,
    word: CheckpointWord = None,
    test: Test = None,
    target: Target = None,
    train_size: Annotated[str, typer.Option(help="Training images used: 5/class, or 10%.")] = "100%",
    max_memory: Annotated[
        float,
        typer.Option(
            "--max-memory",
            metavar="GIB",
            min=0.000_001,
            max=100_000,
            help="Of the patch features, in GiB: more are refused before any is made.",
        ),
    ] = 4.0,
    random_backbone: RandomBackbone = False,
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
    """Train a classifier that looks at the patches of each image, as AIM's attentive probe does."""
    given = locals()
    options: dict[str, Any] = {
        "train_size": train_size,
        "most_memory": round(given.pop("max_memory") * 2**30),
    }
    with command("eval attentive", json=json) as out:
        from catlipctl import transfer
        from catlipctl.transfer.labelled import TrainSize

        TrainSize.parse(given.pop("train_size"))
        del given["json"]
        opened = opened_for(out, **given)
        folder = opened.folder("attentive")
        result = transfer.attentive_probe(
            opened.checkpoint, opened.train, opened.test, out=folder, **options, **opened.options
        )
        if is_main():
            told = f"wrote {folder}, with result.json, predictions.csv and head.safetensors"
            out.result(result, attended(result), told)


def _evaluate(
    names: tuple[str, ...] | None, *, json: bool, options: dict[str, Any] | None = None, **given: Any
) -> None:
    """The probes of these names, or all of them; options: of the one, where it is one."""
    with command(f"eval {names[0] if names else 'all'}", json=json) as out:
        from catlipctl import transfer
        from catlipctl.transfer.probes import PROBES

        rows = given.pop("rows", "calibrated")
        opened = opened_for(out, **given)
        out_dir = given["out_dir"]
        folders = {
            name: out_dir / name if out_dir and not names else opened.folder(name) for name in names or PROBES
        }
        result = transfer.evaluate(
            opened.checkpoint,
            opened.train,
            opened.test,
            folders=folders,
            options=options,
            mapping=given.get("mapping", "heads"),
            rows=rows,
            **opened.options,
        )
        if is_main():
            written = [f"wrote {folder}" for folder in result.folders.values()]
            out.result(result, together(result), shared(result), *written)
