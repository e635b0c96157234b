"""What a run would be refused for, and what it would cost, without starting it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from catlipctl import models, objectives
from catlipctl.data.batch import Shape
from catlipctl.data.loader import shared_memory_bytes
from catlipctl.data.sample import Source
from catlipctl.errors import CatlipctlError
from catlipctl.pretraining import cost
from catlipctl.pretraining.checks import Checks, Place, Refusal
from catlipctl.pretraining.probe import Probe, probe
from catlipctl.progress import SILENT, Progress
from catlipctl.recipe import Loaded
from catlipctl.recipe.schema import leaves
from catlipctl.results import Result
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training import launch
from catlipctl.training.steps import StepSchedule, cut, planned
from catlipctl.training.utilisation import BACKWARD
from catlipctl.vocabulary import Vocabulary


class Value(BaseModel):
    """One resolved value of a recipe and where it came from."""

    key: str
    value: Any
    origin: str


class SizeRow(BaseModel):
    """The steps of one image size: how many, images of one, and operations of an image's forward pass.

    token_drop: share of the patches that they leave out.
    """

    size: int
    token_drop: float = 0.0
    steps: int
    images: int
    flops_per_image: int


class ValidationCost(BaseModel):
    """What measuring on held-out pairs adds.

    times: of which one is at the end. images: of each. share: of the operations of training. scores_bytes:
    of the host's memory that a process takes for the scores of all classes, where there are classes.
    """

    times: int
    images: int
    share: float | None
    scores_bytes: int | None


class DryRun(Result):
    """A recipe resolved, what it would be refused for, and what it would cost; None where nothing can tell.

    process_batch: images of a step at the model's own size in the process that has most of them.
    batch_over_base: the mean batch over the batch at the model's own size. steps_before: those that a resumed
    run has behind it; sizes, flops, gpu_hours and seconds are of the steps that remain. flops: of training,
    the tower's: products, convolutions and attention, forward and backward. gpu_hours: at `utilisation` of
    `peak_flops`. seconds: by the probe where there is one, else at `utilisation` of `device_flops`, the speed
    of all its devices together. memory: bytes of each process at its peak, by what they are for.
    shared_memory_bytes: the most that the loader of each process holds.
    """

    values: list[Value]
    refusals: list[Refusal]
    steps: int | None
    images: int | None
    steps_before: int
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
    learned_parameters: int | None = None
    """None: all of them."""
    checkpoint_bytes: int | None
    flops: float | None
    gpu_hours: float | None
    peak_flops: float = cost.PEAK_FLOPS
    utilisation: float = cost.UTILISATION
    device: str
    device_flops: float
    seconds: float | None
    memory: dict[str, int] | None
    shared_memory_bytes: int
    validation: ValidationCost | None = None
    probe: Probe | None = None
    warnings: list[str]

    def refused(self) -> CatlipctlError | None:
        """The first error that no other machine would mend."""
        for refusal in self.refusals:
            if not refusal.elsewhere:
                error = CatlipctlError(refusal.message, refusal.hint)
                error.exit_code = refusal.exit_code
                return error
        return None


def dry_run(
    loaded: Loaded[PretrainRecipe],
    place: Place = Place(),
    *,
    probed: bool = False,
    progress: Progress = SILENT,
) -> DryRun:
    """Every value of the recipe with its origin, the checks of the run, its arithmetic and its cost.

    probed: take three real steps in this process, if the run would not be refused. UsageError at once for a
    tower that cannot be made.
    """
    recipe = loaded.value
    base, sizes = recipe.model.image_size, recipe.image_sizes(recipe.model.image_size)
    checks = Checks()
    devices, start, given, source, held_out = checks.all(recipe, place, progress)
    processes = launch.world_size(place.gpus, place.processes)
    begun = start.step, start.samples
    schedule = checks.of(lambda: planned(recipe, base, None if source is None else len(source), begun))
    classes = _classes(recipe, given)
    # Raises what the run would for a tower that cannot be made, or that does not take all sizes.
    whole = models.counts(recipe.model, classes or 2, sizes)
    # The last process has the largest share.
    pieces = cut(recipe.global_batch_size, processes - 1, processes, recipe.device_batch_size)
    bare, with_one = (models.counts(recipe.model, count, [base]) for count in (2, 3))
    per_class = with_one.parameters - bare.parameters
    total = bare.parameters + per_class * ((classes or 0) - 2)
    total += objectives.find(recipe.objective).parameters_beside(recipe.objective_settings)
    rows = [] if schedule is None else by_shape(schedule, start.step, whole.flops)
    flops = float(sum(BACKWARD * row.steps * row.images * row.flops_per_image for row in rows)) or None
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
        parameters=total,
        parameters_per_class=per_class,
        checkpoint_bytes=None
        if classes is None
        else checkpoint_bytes(total, total, averaged=recipe.ema.momentum is not None),
        flops=flops,
        gpu_hours=flops and flops / (cost.PEAK_FLOPS * cost.UTILISATION) / 3600,
        device=speed.device,
        device_flops=speed.flops,
        seconds=flops and flops / (speed.flops * cost.UTILISATION),
        memory=None,
        shared_memory_bytes=max(shared_memory_bytes(recipe.data.workers, size) for size in sizes),
        warnings=[] if schedule is None else recipe.warnings(len(schedule)),
    )
    outputs = objectives.find(recipe.objective).head_size(recipe.objective_settings, classes or 2)
    step = cost.Pieces(max(sizes), found.micro_batch, len(pieces), processes, found.steps or 1)
    found.memory = checks.of(lambda: cost.memory(recipe, outputs, step, devices))
    found.validation = _validation(recipe, found, held_out, classes, whole.flops[Shape(base)])
    found.refusals = checks.refusals
    if recipe.data.workers * processes > (os.cpu_count() or 1) and devices is not None:
        found.warnings.append(
            f"data.workers: {recipe.data.workers * processes} workers share {os.cpu_count()} cores"
        )
    found.warnings += cost.shortages(found.memory, found.shared_memory_bytes, processes, devices)
    if probed and devices is not None and not found.refusals:
        _add_probe(found, recipe, devices, given or classes or 2, place.cache_dir, base)
    return found


def checkpoint_bytes(parameters: int, learned: int, *, averaged: bool) -> int:
    """Bytes of a checkpoint: float32 weights, two moments of what learns, the raw weights beside an EMA."""
    return 4 * (parameters * (2 if averaged else 1) + 2 * learned)


def values(loaded: Loaded[Any]) -> list[Value]:
    """Every resolved value of a recipe with its origin."""
    return [Value(key=key, value=value, origin=loaded.origins[key]) for key, value in leaves(loaded.value)]


def by_shape(schedule: StepSchedule, begun: int, flops_of: Mapping[Shape, int]) -> list[SizeRow]:
    """The steps of each shape from number `begun` on. flops_of: an image's forward pass, by its shape."""
    return [
        SizeRow(**shape._asdict(), steps=steps, images=first.rows, flops_per_image=flops_of[shape])
        for shape, (steps, first) in schedule.by_shape(begun).items()
    ]


def _validation(
    recipe: PretrainRecipe, found: DryRun, held_out: Source | None, classes: int | None, flops: int
) -> ValidationCost | None:
    """flops: of an image's forward pass at the model's own size."""
    settings = recipe.validation
    if settings is None or held_out is None or found.steps is None:
        return None
    images = min(settings.samples, len(held_out))
    times = -(-found.steps // settings.every) - found.steps_before // settings.every
    scores = 4 * -(-images // found.processes) * classes if classes else None
    if not objectives.find(recipe.objective).needs_classes:
        scores = None
    share = found.flops and times * images * flops / found.flops
    return ValidationCost(times=times, images=images, share=share, scores_bytes=scores)


def _classes(recipe: PretrainRecipe, given: Vocabulary | None) -> int | None:
    """Outputs of the head, where they are known before a vocabulary is counted."""
    kind = objectives.find(recipe.objective)
    if not kind.needs_classes:
        return kind.head_size(recipe.objective_settings, None)
    return recipe.vocabulary.max_size if given is None else len(given)


def _add_probe(
    found: DryRun,
    recipe: PretrainRecipe,
    devices: launch.Devices,
    classes: Vocabulary | int,
    cache_dir: Path | None,
    base: int,
) -> None:
    """Three real steps; the time of the run is then theirs, by the operations of each size."""
    found.probe = probe(recipe, found.process_batch, classes, cpu=devices.cpu, cache_dir=cache_dir)
    # Its steps are the first of a run.
    first = Shape(base, recipe.model.token_drop if recipe.model.unmasked_tuning < 1 else 0.0)
    flops_of_base = models.counts(recipe.model, found.vocabulary_size or 2, [base]).flops[first]
    if found.flops is not None:
        # Process by process: each has its share of every step.
        steps = found.flops / (BACKWARD * flops_of_base * recipe.global_batch_size)
        found.seconds = steps * found.probe.milliseconds / 1000
