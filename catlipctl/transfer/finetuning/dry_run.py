"""What a fine-tuning run would be refused for, and what it would cost, without starting it."""

import copy
from collections.abc import Callable

from catlipctl import models
from catlipctl.checkpoints import Checkpoint
from catlipctl.data import Source
from catlipctl.labels.targets import LabelSet
from catlipctl.models import Tower
from catlipctl.objectives import Objective
from catlipctl.pretraining import cost
from catlipctl.pretraining.checks import Checks, Place
from catlipctl.pretraining.estimate import Counts, DryRun, Plan, estimate
from catlipctl.progress import SILENT, Progress
from catlipctl.recipe import Loaded
from catlipctl.settings.finetuning import FinetuneRecipe
from catlipctl.training import launch
from catlipctl.training.steps import planned
from catlipctl.training.utilisation import BACKWARD
from catlipctl.transfer.finetuning.assembly import (
    base_size,
    check_images_are_named,
    make_objective,
    make_tower,
)
from catlipctl.transfer.finetuning.finetune import RULES
from catlipctl.transfer.labelled import LabelledSets, TrainSize, labelled_sets, subset

TRAIN_IMAGES = {"imagenet": 1_281_167, "places365": 1_803_460, "coco": 118_287}
"""Of the published sets: their cost is told before they are there."""
Opened = tuple[Source, Source | None]


def dry_run(
    loaded: Loaded[FinetuneRecipe],
    checkpoint: Checkpoint,
    opened: Callable[[], Opened],
    place: Place = Place(),
    *,
    target: LabelSet | None = None,
    progress: Progress = SILENT,
) -> DryRun:
    """Every value of the recipe with its origin, the checks of the run, its arithmetic and its cost.

    opened: opens the training and test images; not called where the recipe names none. `vocabulary_size` of
    the answer is the number of classes. UsageError at once for a tower that does not take the sizes.
    """
    recipe = loaded.value
    base = base_size(recipe, checkpoint.tower)
    sizes = recipe.image_sizes(base)
    checks = Checks()
    devices, _, start = checks.of_a_run(recipe, RULES, base, place, progress)
    sets = checks.of(lambda: _sets(recipe, opened, target), elsewhere=not recipe.sources)
    classes = len(sets.classes) if sets else len(target) if target else None
    images, assumed = _train_images(recipe, sets, classes)
    schedule = checks.of(lambda: planned(recipe, base, images, (start.step, start.samples)))
    processes = launch.world_size(place.gpus, place.processes)
    plan = Plan(loaded, base, schedule, start.step, processes, devices, ("workers", recipe.workers))
    several = sets.classes.multi_label if sets else recipe.loss == "bce"
    augmented = recipe.range_augment is not None

    def memory(step: cost.Pieces) -> dict[str, int] | None:
        def objective() -> Objective:
            return _rehearsed(recipe, checkpoint.tower, classes or 2, step, multi_label=several)

        return cost.needed(recipe, objective, step, base, devices, augmented=augmented)

    found = estimate(plan, _counts(recipe, checkpoint.tower, classes, sizes), checks, memory)
    found.warnings = [*assumed, *found.warnings]
    return found


def _train_images(
    recipe: FinetuneRecipe, sets: LabelledSets | None, classes: int | None
) -> tuple[int | None, list[str]]:
    """How many there are, and what is assumed of them; of a published set where none are named."""
    size = TrainSize.parse(recipe.train_size)
    if sets is not None:
        return len(subset(sets.train.labels[sets.train.indices], size, recipe.seed)), []
    whole = None if recipe.sources else TRAIN_IMAGES.get(recipe.target or "")
    if whole is None or classes is None:
        return whole, []
    images = size.of(whole) if size.images is None else size.images * classes
    return images, [f"no images are named: the cost is that of {images:,} of {recipe.target}"]


def _counts(recipe: FinetuneRecipe, of_checkpoint: Tower, classes: int | None, sizes: list[int]) -> Counts:
    tower = make_tower(recipe, of_checkpoint, classes or 2)
    total = sum(parameter.numel() for parameter in tower.module.parameters())
    learned = sum(p.numel() for p in tower.module.parameters() if p.requires_grad)
    per_class = sum(parameter.numel() for parameter in tower.head.parameters()) // (classes or 2)
    if classes is None:
        total = learned = total - 2 * per_class
    # No backward pass goes through a frozen tower.
    passes = BACKWARD if recipe.learns == "all" else 1
    return Counts(classes, total, per_class, learned, models.flops(tower, sizes) or {}, passes)


def _rehearsed(
    recipe: FinetuneRecipe, tower: Tower, classes: int, step: cost.Pieces, *, multi_label: bool
) -> Objective:
    """The objective at the step's size, on the meta device."""
    plain = recipe.model_copy(update={"image_size": step.size, "sizes": None, "range_augment": None})
    made = make_tower(plain, tower, classes)
    on_meta = models.TimmTower(copy.deepcopy(made.module).to("meta"))
    return make_objective(plain, on_meta, lambda _: [], step.steps, multi_label=multi_label)


def _sets(recipe: FinetuneRecipe, opened: Callable[[], Opened], target: LabelSet | None) -> LabelledSets:
    check_images_are_named(recipe)
    train, test = opened()
    return labelled_sets(
        train, test, target, recipe.seed, multi_label=recipe.multi_label, label_base=recipe.label_base
    )
