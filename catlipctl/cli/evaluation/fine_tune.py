"""`catlipctl eval ft`: the whole tower trained on labelled images."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

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

if TYPE_CHECKING:
    from catlipctl.training.directory import RunDirectory


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
        from catlipctl.data.sources.locate import slug
        from catlipctl.settings.finetuning import FinetuneRecipe

        only_main_speaks()
        resuming.only_on_resuming(allow_recipe_change, resume=resume)
        file, word = fine_tuning.told_apart(words or [])
        checkpoint = inputs.either(checkpoint, word, "--checkpoint")
        written = {} if file is None else recipe.read(file)
        data = data or next(iter(written.get("sources") or ()), None)
        name = f"ft-{slug(data) if data else Path(file or 'data').stem}"
        of = _Of(checkpoint, data, test, target)
        run = resuming.fine_tuning(name, checkpoint, out_dir, out) if resume else None
        if run is not None:
            of = of.or_as_in(run)
        named = inputs.checkpoint(of.checkpoint or written.get("checkpoint"), None, out)
        flags = {
            "checkpoint": named,
            "target": of.named_target(written),
            "init": init,
            "mapping": mapping,
            "rows": rows,
            "loss": fine_tuning.loss_of(multi_label),
            "label_base": label_base,
            "train_size": train_size,
            "random_backbone": random_backbone or None,
        }
        given = {key: value for key, value in flags.items() if value is not None}
        overrides = [recipe.Override.parse(text) for text in set_ or []]
        overrides += [
            recipe.Override(key, value, "--" + key.replace("_", "-")) for key, value in given.items()
        ]
        if of.data:
            overrides.append(recipe.Override("sources", of.sources(written), "--data"))
        loaded = recipe.load(FinetuneRecipe, file or (run.recipe if run else None), overrides)
        # After the recipe, which is refused without torch.
        from catlipctl.pretraining.checks import Place

        # What was chosen is told once, and is the same in all processes.
        further = ["--out", str(run.path)] if run and not out_dir else []
        further += [] if of.checkpoint else ["--checkpoint", named]
        out_dir = run.path if run else out_dir
        place = Place(gpus, processes, out_dir, name, resume, allow_recipe_change, cache_dir)
        images = fine_tuning.Images(label_key, image_key, cache_dir)
        if dry_run:
            fine_tuning.show_dry_run(out, loaded, images, place)
        else:
            fine_tuning.run(out, loaded, images, place, plots, further)


class _Of(NamedTuple):
    """What a run is of, as options name it; None: as the recipe says."""

    checkpoint: str | None
    data: str | None
    test: str | None
    target: str | None

    def or_as_in(self, run: "RunDirectory") -> "_Of":
        """What is not named is as the run has it."""
        from catlipctl import recipe
        from catlipctl.settings.finetuning import FinetuneRecipe

        settled = recipe.load(FinetuneRecipe, run.recipe, environment={}).value
        data, test = self.data or next(iter(settled.sources), None), self.test
        if settled.sources[:1] == [data]:
            test = test or next(iter(settled.sources[1:]), None)
        return _Of(self.checkpoint or settled.checkpoint, data, test, self.target or settled.target)

    def named_target(self, written: Mapping[str, Any]) -> str | None:
        """The label set; that of the embedded images where neither an option nor the recipe names one."""
        from catlipctl.data import emoji

        if self.target or "target" in written or not (self.data or "").startswith(emoji.TRANSFER):
            return self.target
        return "emoji"

    def sources(self, written: Mapping[str, Any]) -> list[str]:
        """The training images, and the test images where they are another source."""
        test = [self.test] if self.test else list(written.get("sources") or [])[1:]
        return [*([self.data] if self.data else []), *test]
