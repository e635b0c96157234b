"""`catlipctl eval ft`: the whole tower trained on labelled images."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from catlipctl.cli import completion, inputs
from catlipctl.cli import resume as resuming
from catlipctl.cli.evaluation import fine_tuning
from catlipctl.cli.evaluation.options import DataOrRecipes, RandomBackbone, SetKeys, Target, Test
from catlipctl.cli.options import (
    AllowRecipeChange,
    CacheDir,
    Checkpoint,
    Gpus,
    ImageKey,
    Json,
    LabelBase,
    LabelKey,
    MultiLabel,
    Processes,
)
from catlipctl.cli.output import command, only_main_speaks
from catlipctl.cli.plots import DEFAULT, Plots


def fine_tune(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE",
            autocompletion=completion.recipes,
            help="A recipe's name (catlipctl recipe list) or file, such as in1k-ft. Default: rates that suit "
            "a few thousand images.",
            show_default=False,
        ),
    ] = None,
    data: DataOrRecipes = None,
    checkpoint: Checkpoint = None,
    test: Test = None,
    target: Target = None,
    init: Annotated[
        Literal["transfer", "random"] | None,
        typer.Option(
            help="The classifier at the start: the pre-trained head's rows, or fresh. Default: transfer.",
            show_default=False,
        ),
    ] = None,
    mapping: Annotated[
        Literal["heads", "paper"] | None,
        typer.Option(
            help="How class names meet the vocabulary, as in eval lp. Default: heads.", show_default=False
        ),
    ] = None,
    rows: Annotated[
        Literal["plain", "calibrated"] | None,
        typer.Option(
            help="The rows of Transfer Init, as in eval zero-shot. Default: plain.", show_default=False
        ),
    ] = None,
    train_size: Annotated[
        str | None,
        typer.Option(help="Training images used: 5/class, or 10%. Default: all.", show_default=False),
    ] = None,
    random_backbone: RandomBackbone = False,
    set_: SetKeys = None,
    gpus: Gpus = None,
    processes: Processes = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run in --out, or the newest unfinished one of this data."
        ),
    ] = False,
    allow_recipe_change: AllowRecipeChange = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check all that the run would check; show every value, its origin, and what the run costs. "
            "--data may be left out.",
        ),
    ] = False,
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
        from catlipctl.data.sources.locate import slug
        from catlipctl.settings.finetuning import FinetuneRecipe

        only_main_speaks()
        resuming.only_on_resuming(allow_recipe_change, resume=resume)
        file, word = fine_tuning.told_apart(words or [])
        checkpoint = inputs.either(checkpoint, word, "--checkpoint")
        written = {} if file is None else recipe.read(file)
        data = data or next(iter(written.get("sources") or ()), None)
        name, further = f"ft-{slug(data) if data else Path(file or 'data').stem}", list[str]()
        run = resuming.fine_tuning(name, checkpoint, out_dir, out) if resume else None
        if run is not None:
            # What is not named is as the run has it.
            settled = recipe.load(FinetuneRecipe, run.recipe, environment={}).value
            checkpoint, target = checkpoint or settled.checkpoint, target or settled.target
            data = data or next(iter(settled.sources), None)
            if settled.sources[:1] == [data]:
                test = test or next(iter(settled.sources[1:]), None)
            further = [] if out_dir else ["--out", str(run.path)]
        if target is None and "target" not in written and data and data.startswith(emoji.TRANSFER):
            target = "emoji"
        named = inputs.checkpoint(checkpoint or written.get("checkpoint"), None, out)
        if checkpoint is None:
            further += ["--checkpoint", named]  # told once, and the same in all processes
        overrides = [recipe.Override.parse(text) for text in set_ or []]
        flags = {
            "checkpoint": named,
            "target": target,
            "init": init,
            "mapping": mapping,
            "rows": rows,
            "loss": fine_tuning.loss_of(multi_label),
            "label_base": label_base,
            "train_size": train_size,
            "random_backbone": random_backbone or None,
        }
        overrides += [
            recipe.Override(key, value, "--" + key.replace("_", "-"))
            for key, value in flags.items()
            if value is not None
        ]
        if data:
            sources = [data, *([test] if test else (written.get("sources") or [])[1:])]
            overrides.append(recipe.Override("sources", sources, "--data"))
        loaded = recipe.load(FinetuneRecipe, file or (run.recipe if run else None), overrides)
        # After the recipe, which is refused without torch.
        from catlipctl.pretraining.checks import Place

        out_dir = run.path if run else out_dir
        place = Place(gpus, processes, out_dir, name, resume, allow_recipe_change, cache_dir)
        images = fine_tuning.Images(label_key, image_key, cache_dir)
        if dry_run:
            fine_tuning.show_dry_run(out, loaded, images, place)
        else:
            fine_tuning.run(out, loaded, images, place, plots, further)
