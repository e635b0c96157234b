"""What a run would cost, without its data and without its devices."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from catlipctl import models, vocabulary
from catlipctl.objectives import OBJECTIVES
from catlipctl.recipe import Loaded
from catlipctl.recipe.schema import leaves
from catlipctl.results import Result
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training.steps import StepSchedule, cut, planned

PEAK_FLOPS = 989e12
"""Of an H100 in bfloat16, dense: what its data sheet states."""
UTILISATION = 0.4
"""Of that peak, by which GPU-hours are told."""
BACKWARD = 3
"""Operations of forward and backward over those of forward: each product gives two gradients."""


class Value(BaseModel):
    """One resolved value of a recipe and where it came from."""

    key: str
    value: Any
    origin: str


class SizeRow(BaseModel):
    """The steps of one image size: how many, images of one, and operations of an image's forward pass."""

    size: int
    steps: int
    images: int
    flops_per_image: int


class DryRun(Result):
    """A recipe resolved, and what the run would cost; None where only the data could tell.

    process_batch: images of a step at the model's own size in the process that has most of them.
    batch_over_base: the mean batch over the batch at the model's own size. flops: of training, the tower's:
    products, convolutions and attention, forward and backward. gpu_hours: at `utilisation` of `peak_flops`.
    """

    values: list[Value]
    steps: int | None
    images: int | None
    sizes: list[SizeRow]
    batch_over_base: float | None
    processes: int
    process_batch: int
    micro_batch: int
    accumulation: int
    vocabulary_size: int | None
    parameters: int
    """With the vocabulary's classes, or without any class where its size is unknown."""
    parameters_per_class: int
    checkpoint_bytes: int | None
    flops: float | None
    gpu_hours: float | None
    peak_flops: float = PEAK_FLOPS
    utilisation: float = UTILISATION
    warnings: list[str]


def dry_run(loaded: Loaded[PretrainRecipe], processes: int) -> DryRun:
    """Every value of the recipe with its origin, and the arithmetic of the run on `processes`."""
    recipe = loaded.value
    base = recipe.model.image_size
    schedule = planned(recipe, base)
    # The last process has the largest share.
    pieces = cut(recipe.global_batch_size, processes - 1, processes, recipe.device_batch_size)
    classes = _vocabulary_size(recipe)
    bare, with_one = (models.counts(recipe.model, count, [base]) for count in (2, 3))
    per_class = with_one.parameters - bare.parameters
    total = bare.parameters + per_class * ((classes or 0) - 2)
    total += OBJECTIVES[recipe.objective].parameters_beside(recipe.clip)
    sizes = recipe.image_sizes(base)
    models.check(recipe.model, sizes)
    rows = []
    if schedule is not None:
        rows = _by_size(schedule, models.counts(recipe.model, classes or 2, sizes).flops)
    flops = float(sum(BACKWARD * row.steps * row.images * row.flops_per_image for row in rows)) or None
    averaged = recipe.ema.momentum is not None
    return DryRun(
        values=[Value(key=key, value=value, origin=loaded.origins[key]) for key, value in leaves(recipe)],
        steps=None if schedule is None else len(schedule),
        images=None if schedule is None else schedule.samples(),
        sizes=rows,
        batch_over_base=None
        if schedule is None
        else schedule.samples() / len(schedule) / recipe.global_batch_size,
        processes=processes,
        process_batch=sum(map(len, pieces)),
        micro_batch=max(map(len, pieces)),
        accumulation=len(pieces),
        vocabulary_size=classes,
        parameters=total,
        parameters_per_class=per_class,
        checkpoint_bytes=None if classes is None else checkpoint_bytes(total, averaged=averaged),
        flops=flops,
        gpu_hours=flops and flops / (PEAK_FLOPS * UTILISATION) / 3600,
        warnings=[] if schedule is None else recipe.warnings(len(schedule)),
    )


def checkpoint_bytes(parameters: int, *, averaged: bool) -> int:
    """Bytes of a checkpoint: float32 weights, two moments, and the raw weights beside an EMA."""
    return 4 * parameters * (4 if averaged else 3)


def _by_size(schedule: StepSchedule, flops_of: dict[int, int]) -> list[SizeRow]:
    return [
        SizeRow(size=size, steps=steps, images=images, flops_per_image=flops_of[size])
        for size, (steps, images) in schedule.by_size().items()
    ]


def _vocabulary_size(recipe: PretrainRecipe) -> int | None:
    """Outputs of the head, where they are known before the data is open."""
    if not OBJECTIVES[recipe.objective].needs_classes:
        return OBJECTIVES[recipe.objective].head_size(recipe.clip, None)
    path = recipe.vocabulary.path
    # Another machine may have the file; the run itself will say if not.
    if path is not None and Path(path).exists():
        return len(vocabulary.load(Path(path)))
    return recipe.vocabulary.max_size
