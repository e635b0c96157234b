"""What `eval ft` and `eval lp --protocol paper|mae` share: recipes on the command line, a run."""

import difflib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from catlipctl.cli import dry_run as dry_runs
from catlipctl.cli import inputs
from catlipctl.cli.evaluation.accuracies import fine_tuned
from catlipctl.cli.label_sets import label_set
from catlipctl.cli.output import Output, is_main
from catlipctl.cli.plots import Kinds, save
from catlipctl.errors import UsageError

if TYPE_CHECKING:
    from catlipctl.data import Source
    from catlipctl.labels.targets import LabelSet
    from catlipctl.pretraining.checks import Place
    from catlipctl.recipe import Loaded
    from catlipctl.settings.finetuning import FinetuneRecipe
    from catlipctl.transfer import FinetuneResult, MultiLabelFinetuneResult


class Images(NamedTuple):
    """How labelled images are opened, beside what the recipe says of them."""

    label_key: str | None
    image_key: str | None
    cache_dir: Path | None

    def open(self, recipe: "FinetuneRecipe", out: Output) -> "tuple[Source, Source | None]":
        """The training and the test images that the recipe names."""
        from catlipctl.transfer.labelled import open_splits

        data, *test = recipe.sources
        out.uses("data", data)
        return open_splits(data, test[0] if test else None, **self._asdict(), progress=out)


def told_apart(words: list[str]) -> tuple[Path | None, str | None]:
    """The recipe's file and the checkpoint that words name, in any order: each of them once at most.

    UsageError for a word that can be neither.
    """
    from catlipctl.recipe import find, names

    recipes = [word for word in words if word in names() or word.endswith((".yaml", ".yml"))]
    others = [word for word in words if word not in recipes]
    if len(recipes) > 1 or len(others) > 1:
        raise UsageError(
            f"{(recipes if len(recipes) > 1 else others)[1]} is one word too many",
            "name one recipe, and the tower by --checkpoint",
        )
    for word in others:
        if not Path(word).exists() and difflib.get_close_matches(word, names()):
            recipes = [word]  # which is none: the nearest is told
    return (find(recipes[0]) if recipes else None), (others[0] if others else None)


def loss_of(multi_label: bool | None) -> str | None:
    """What `--multi-label` or `--exclusive` says of the loss."""
    return None if multi_label is None else "bce" if multi_label else "cross_entropy"


def target_of(recipe: "FinetuneRecipe", out: Output) -> "LabelSet | None":
    """The label set that the recipe names."""
    if recipe.target is None:
        return None
    return label_set(recipe.target, out, multi_label=recipe.multi_label, mapping=recipe.mapping)


def show_dry_run(out: Output, loaded: "Loaded[FinetuneRecipe]", images: Images, place: "Place") -> None:
    """What the run would be refused for, and what it would cost."""
    from catlipctl import checkpoints
    from catlipctl.transfer.finetuning.dry_run import dry_run

    recipe = loaded.value
    target = target_of(recipe, out)
    start = checkpoints.load(recipe.checkpoint, weights=False)
    place = place._replace(root=start.run / "eval")
    opened = partial(images.open, recipe, out)
    dry_runs.show(out, dry_run(loaded, start, opened, place, target=target, progress=out))


def run(
    out: Output,
    loaded: "Loaded[FinetuneRecipe]",
    images: Images,
    place: "Place",
    plots: Kinds,
    further: list[str],
) -> None:
    """Train, test, and show what came of it. further: arguments that each further process gets."""
    from catlipctl import checkpoints, transfer
    from catlipctl.transfer.finetuning.assembly import check_images_are_named

    recipe = loaded.value
    check_images_are_named(recipe)
    cpu = inputs.only_here(place.gpus, place.processes, out, further)
    target = target_of(recipe, out)
    train, test = images.open(recipe, out)
    start = checkpoints.load(recipe.checkpoint, weights=not recipe.random_backbone)
    result = transfer.finetune(
        recipe,
        start,
        train,
        test,
        target=target,
        out=place.out,
        root=start.run / "eval",
        name=place.name,
        resume=place.resume,
        allow_changes=place.allow_changes,
        cpu=cpu,
        progress=out,
    )
    if is_main():
        out.result(result, fine_tuned(result, _plot(result, plots, out)), next_step(result.run))


TRAINED = {"paper": "in1k-lp", "mae": "in1k-lp-mae"}
"""Protocols of a linear probe by training -> their recipes."""
PAPERS_SIZE = 224


def probe_recipe(
    out: Output, protocol: str, given: Mapping[str, Any], changes: list[str]
) -> "Loaded[FinetuneRecipe]":
    """The recipe of a protocol of `TRAINED`, for any data. given: keys that options of the same name set.

    A tower of another size than the paper's 224 px is trained at its own size alone.
    """
    from catlipctl import checkpoints, recipe
    from catlipctl.settings.finetuning import FinetuneRecipe

    overrides = [recipe.Override("precision", "auto", "--protocol")]
    overrides += [recipe.Override(key, value, "--" + key.replace("_", "-")) for key, value in given.items()]
    file = recipe.find(TRAINED[protocol])
    size = checkpoints.load(given["checkpoint"], weights=False).tower.preprocessing.size
    if size != PAPERS_SIZE:
        out.note(f"the tower is one of {size} px, not {PAPERS_SIZE}: it sees images of that size alone")
        overrides += [recipe.Override(key, None, "--protocol") for key in ("image_size", "sizes")]
    overrides += [recipe.Override.parse(text) for text in changes]
    return recipe.load(FinetuneRecipe, file, overrides)


def next_step(checkpoint: str) -> str:
    """What one does with a classifier."""
    return f"try it: catlipctl predict IMAGE... --checkpoint {checkpoint}"


def _plot(result: "FinetuneResult | MultiLabelFinetuneResult", plots: Kinds, out: Output) -> str | None:
    from catlipctl import reports

    run = Path(result.run)
    written = save({run / "loss": lambda: reports.run_loss(run, "Fine-tuning loss")}, plots, out)
    return str(written[0]) if written else None
