"""`catlipctl eval`: what a tower is worth, frozen under a linear classifier (`lp`) or trained (`ft`)."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from catlipctl.cli import completion, inputs
from catlipctl.cli import resume as resuming
from catlipctl.cli.accuracies import fine_tuned, probed
from catlipctl.cli.label_sets import label_set
from catlipctl.cli.options import (
    AllowRecipeChange,
    CacheDir,
    Checkpoint,
    CheckpointWord,
    Gpus,
    ImageKey,
    Json,
    LabelBase,
    LabelKey,
    MultiLabel,
    Processes,
)
from catlipctl.cli.output import Output, command, is_main, only_main_speaks
from catlipctl.cli.plots import DEFAULT, Kinds, Plots, save

if TYPE_CHECKING:
    from catlipctl.transfer import FinetuneResult, MultiLabelFinetuneResult

Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="SOURCE",
        autocompletion=completion.sources,
        help="Labelled images: class folders, tars, Parquet, coco:ANNOTATIONS.json; or emoji:transfer, the "
        "embedded ones. A folder's train/ and test/ (or val/) are used as such.",
        show_default=False,
    ),
]
Test = Annotated[
    str | None,
    typer.Option(
        "--test",
        metavar="SOURCE",
        help="Test images. Default: the test/ or val/ beside the folder train/, whether --data names "
        "train/ or what it is in; else 20 % of --data, stratified by seed.",
        show_default=False,
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="TARGET",
        autocompletion=completion.targets,
        help="The label set whose labels the class names are. Default: names looked up in WordNet; for "
        "emoji:transfer, emoji.",
        show_default=False,
    ),
]


def linear_probe(
    data: Data,
    checkpoint: Checkpoint = None,
    word: CheckpointWord = None,
    test: Test = None,
    target: Target = None,
    train_size: Annotated[str, typer.Option(help="Training images used: 5/class, or 10%.")] = "100%",
    init: Annotated[
        Literal["transfer", "random"],
        typer.Option(help="Transfer Init as the prior, its weight tuned; or none."),
    ] = "transfer",
    rows: Annotated[
        Literal["plain", "calibrated"],
        typer.Option(
            help="Transfer Init's rows: the paper's copies, or smoothed over WordNet and of equal length."
        ),
    ] = "calibrated",
    random_backbone: Annotated[
        bool,
        typer.Option("--random-backbone", help="The control: the same tower, untrained."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Decides splits, subsets and the untrained tower.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.")] = 0,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The checkpoint to write, with result.json and predictions.csv; it may not exist. Default: "
            "RUN/eval/lp-DATA-N, of the control lp-DATA-untrained-N.",
            show_default=False,
        ),
    ] = None,
    label_key: LabelKey = None,
    label_base: LabelBase = None,
    multi_label: MultiLabel = None,
    image_key: ImageKey = None,
    cache_dir: CacheDir = None,
    json: Json = False,
) -> None:
    """Fit a linear classifier to frozen features, with Transfer Init as its prior, and test it."""
    with command("eval lp", json=json) as out:
        from catlipctl import checkpoints, files, transfer
        from catlipctl.data import emoji
        from catlipctl.transfer.labelled import TrainSize, open_splits

        TrainSize.parse(train_size)
        if target is None and data.startswith(emoji.TRANSFER):
            target = "emoji"
        labelset = None if target is None else label_set(target, out, multi_label=multi_label)
        # The checkpoint's name stands on the first line; it is loaded last, for it may be a download.
        named = inputs.checkpoint(checkpoint, word, out)
        train_source, test_source = open_splits(
            data, test, label_key=label_key, image_key=image_key, cache_dir=cache_dir, progress=out
        )
        out.uses("data", data)
        loaded = checkpoints.load(named, weights=not random_backbone)
        name = f"lp-{slug(data)}" + ("-untrained" if random_backbone else "")
        folder = out_dir or files.unused(loaded.run / "eval" / name, numbered=True)
        result = transfer.linear_probe(
            loaded,
            train_source,
            test_source,
            target=labelset,
            train_size=train_size,
            init=init,
            rows=rows,
            random_backbone=random_backbone,
            seed=seed,
            multi_label=multi_label,
            label_base=label_base,
            out=folder,
            workers=workers,
            progress=out,
        )
        written = [f"wrote {folder}, with result.json and predictions.csv"]
        if result.checkpoint is not None:
            written.append(_next_step(result.checkpoint))
        out.result(result, probed(result), *written)


def fine_tune(
    data: Data,
    checkpoint: Checkpoint = None,
    word: CheckpointWord = None,
    test: Test = None,
    target: Target = None,
    init: Annotated[
        Literal["transfer", "random"] | None,
        typer.Option(
            help="The classifier at the start: the pre-trained head's rows, or fresh. Default: transfer.",
            show_default=False,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one key of the run, such as length.epochs. Repeats.",
            show_default=False,
        ),
    ] = None,
    gpus: Gpus = None,
    processes: Processes = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run in --out, or the newest unfinished one of this data."
        ),
    ] = False,
    allow_recipe_change: AllowRecipeChange = False,
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", help="The run's directory. Default: RUN/eval/ft-DATA.", show_default=False),
    ] = None,
    label_key: LabelKey = None,
    label_base: LabelBase = None,
    multi_label: MultiLabel = None,
    image_key: ImageKey = None,
    cache_dir: CacheDir = None,
    plots: Plots = DEFAULT,
    json: Json = False,
) -> None:
    """Train the whole tower on labelled images, with a classifier from Transfer Init, and test it."""
    with command("eval ft", json=json) as out:
        from catlipctl import recipe
        from catlipctl.data import emoji
        from catlipctl.settings.finetuning import FinetuneRecipe

        only_main_speaks()
        resuming.only_on_resuming(allow_recipe_change, resume=resume)
        name, further = f"ft-{slug(data)}", list[str]()
        checkpoint = inputs.either(checkpoint, word, "--checkpoint")
        run = resuming.fine_tuning(name, checkpoint, out_dir, out) if resume else None
        if run is not None:
            # What is not named is as the run has it.
            settled = recipe.load(FinetuneRecipe, run.recipe, environment={}).value
            checkpoint, target = checkpoint or settled.checkpoint, target or settled.target
            if settled.sources[0] == data:
                test = test or next(iter(settled.sources[1:]), None)
            further = [] if out_dir else ["--out", str(run.path)]
        if target is None and data.startswith(emoji.TRANSFER):
            target = "emoji"
        named = inputs.checkpoint(checkpoint, None, out)
        if checkpoint is None:
            further += ["--checkpoint", named]  # told once, and the same in all processes
        overrides = [recipe.Override.parse(text) for text in set_ or []]
        flags = {"checkpoint": named, "target": target, "init": init}
        overrides += [recipe.Override(key, value, f"--{key}") for key, value in flags.items() if value]
        if multi_label is not None:
            loss, option = ("bce", "--multi-label") if multi_label else ("cross_entropy", "--exclusive")
            overrides.append(recipe.Override("loss", loss, option))
        if label_base is not None:
            overrides.append(recipe.Override("label_base", label_base, "--label-base"))
        overrides.append(recipe.Override("sources", [data, *([test] if test else [])], "--data"))
        loaded = recipe.load(FinetuneRecipe, run.recipe if run else None, overrides)
        # After the recipe, which is refused without torch.
        from catlipctl import checkpoints, transfer
        from catlipctl.transfer.labelled import open_splits

        cpu = inputs.only_here(gpus, processes, out, further)
        labelset = None if target is None else label_set(target, out, multi_label=multi_label)
        train_source, test_source = open_splits(
            data, test, label_key=label_key, image_key=image_key, cache_dir=cache_dir, progress=out
        )
        out.uses("data", data)
        start = checkpoints.load(named)
        result = transfer.finetune(
            loaded.value,
            start,
            train_source,
            test_source,
            target=labelset,
            out=run.path if run else out_dir,
            root=start.run / "eval",
            name=name,
            resume=resume,
            allow_changes=allow_recipe_change,
            cpu=cpu,
            progress=out,
        )
        if is_main():
            out.result(result, fine_tuned(result, _plot(result, plots, out)), _next_step(result.run))


def _plot(result: "FinetuneResult | MultiLabelFinetuneResult", plots: Kinds, out: Output) -> str | None:
    from catlipctl import reports

    run = Path(result.run)
    written = save({run / "loss": lambda: reports.run_loss(run, "Fine-tuning loss")}, plots, out)
    return str(written[0]) if written else None


def _next_step(checkpoint: str) -> str:
    return f"try it: catlipctl predict IMAGE... --checkpoint {checkpoint}"


def slug(data: str) -> str:
    """A folder's name for a SOURCE: `emoji:transfer` is emoji-transfer, `photos/train` photos."""
    from catlipctl.data import emoji

    parts = [part for part in re.split(r"[/:]", data) if part not in ("", ".", "..", "train")]
    name = "-".join(parts) if data.startswith((emoji.PREFIX, "hf:")) else (parts or ["data"])[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "data"
