"""What a fine-tuning run would be refused for, and what it would cost, without starting it."""

import copy
import os
from collections.abc import Callable

from catlipctl import models
from catlipctl.checkpoints import Checkpoint
from catlipctl.data import Source
from catlipctl.data.loader import shared_memory_bytes
from catlipctl.labels.targets import LabelSet
from catlipctl.objectives import Objective
from catlipctl.pretraining import cost
from catlipctl.pretraining.checks import Checks, Place
from catlipctl.pretraining.dry_run import DryRun, by_shape, checkpoint_bytes, values
from catlipctl.progress import SILENT, Progress
from catlipctl.recipe import Loaded
from catlipctl.settings.finetuning import FinetuneRecipe
from catlipctl.training import launch
from catlipctl.training.steps import cut, planned
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
    processes = launch.world_size(place.gpus, place.processes)
    sets = checks.of(lambda: _sets(recipe, opened, target), elsewhere=not recipe.sources)
    classes = len(sets.classes) if sets else len(target) if target else None
    tower = make_tower(recipe, checkpoint.tower, classes or 2)
    size, assumed = TrainSize.parse(recipe.train_size), list[str]()
    images = None if recipe.sources else TRAIN_IMAGES.get(recipe.target or "")
    if images is not None and classes is not None:
        images = size.of(images) if size.images is None else size.images * classes
        assumed = [f"no images are named: the cost is that of {images:,} of {recipe.target}"]
    if sets is not None:
        images = len(subset(sets.train.labels[sets.train.indices], size, recipe.seed))
    schedule = checks.of(lambda: planned(recipe, base, images, (start.step, start.samples)))
    pieces = cut(recipe.global_batch_size, processes - 1, processes, recipe.device_batch_size)
    total = sum(parameter.numel() for parameter in tower.module.parameters())
    learned = sum(p.numel() for p in tower.module.parameters() if p.requires_grad)
    per_class = sum(parameter.numel() for parameter in tower.head.parameters()) // (classes or 2)
    forward = models.flops(tower, sizes)
    rows = by_shape(schedule, start.step, forward) if schedule is not None and forward else []
    # Through a frozen tower no backward pass goes.
    passes = BACKWARD if recipe.learns == "all" else 1
    flops = float(sum(passes * row.steps * row.images * row.flops_per_image for row in rows)) or None
    speed = cost.speed(recipe, devices, processes)
    found = DryRun(
        values=values(loaded),
        refusals=[],
        steps=None if schedule is None else len(schedule),
        images=None if schedule is None else schedule.samples(),
        steps_before=start.step,
        sizes=rows,
        batch_over_base=None
        if schedule is None
        else schedule.samples() / len(schedule) / recipe.global_batch_size,
        processes=processes,
        process_batch=sum(map(len, pieces)),
        micro_batch=max(map(len, pieces)),
        accumulation=len(pieces),
        vocabulary_size=classes,
        parameters=total if classes else total - 2 * per_class,
        parameters_per_class=per_class,
        learned_parameters=learned if recipe.learns == "classifier" and classes else None,
        checkpoint_bytes=checkpoint_bytes(total, learned, averaged=recipe.ema.momentum is not None)
        if classes
        else None,
        flops=flops,
        gpu_hours=flops and flops / (cost.PEAK_FLOPS * cost.UTILISATION) / 3600,
        device=speed.device,
        device_flops=speed.flops,
        seconds=flops and flops / (speed.flops * cost.UTILISATION),
        memory=None,
        shared_memory_bytes=max(shared_memory_bytes(recipe.workers, size) for size in sizes),
        warnings=[*assumed, *([] if schedule is None else recipe.warnings(len(schedule)))],
    )
    step = cost.Pieces(max(sizes), found.micro_batch, len(pieces), processes, found.steps or 1)
    several = sets.classes.multi_label if sets else recipe.loss == "bce"

    def objective() -> Objective:
        plain = recipe.model_copy(update={"image_size": step.size, "sizes": None, "range_augment": None})
        made = make_tower(plain, checkpoint.tower, classes or 2)
        on_meta = models.TimmTower(copy.deepcopy(made.module).to("meta"))
        return make_objective(plain, on_meta, lambda _: [], step.steps, multi_label=several)

    augmented = recipe.range_augment is not None
    found.memory = checks.of(lambda: cost.needed(recipe, objective, step, base, devices, augmented=augmented))
    found.refusals = checks.refusals
    if recipe.workers * processes > (os.cpu_count() or 1) and devices is not None:
        found.warnings.append(f"workers: {recipe.workers * processes} share {os.cpu_count()} cores")
    found.warnings += cost.shortages(found.memory, found.shared_memory_bytes, processes, devices)
    return found


def _sets(recipe: FinetuneRecipe, opened: Callable[[], Opened], target: LabelSet | None) -> LabelledSets:
    check_images_are_named(recipe)
    train, test = opened()
    return labelled_sets(
        train, test, target, recipe.seed, multi_label=recipe.multi_label, label_base=recipe.label_base
    )
