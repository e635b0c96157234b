"""What a training run of any task would cost, as a dry run tells it: steps, operations, memory, time."""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from catlipctl.data.batch import Shape
from catlipctl.data.loader import shared_memory_bytes
from catlipctl.errors import CatlipctlError
from catlipctl.pretraining import cost
from catlipctl.pretraining.checks import Checks, Refusal
from catlipctl.pretraining.probe import Probe
from catlipctl.recipe import Loaded
from catlipctl.recipe.schema import leaves
from catlipctl.results import Result
from catlipctl.settings.training import TrainingSettings
from catlipctl.training import launch
from catlipctl.training.steps import StepSchedule, cut
from catlipctl.training.utilisation import BACKWARD


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
        return next((refusal.error() for refusal in self.refusals if not refusal.elsewhere), None)


class Plan(NamedTuple):
    """How a run would go.

    base: the tower's own size. schedule: None where its length is unknown. steps_before: those that a resumed
    run has behind it. devices: None for others than this machine's. workers: the recipe's key and its value.
    """

    loaded: Loaded[Any]
    base: int
    schedule: StepSchedule | None
    steps_before: int
    processes: int
    devices: launch.Devices | None
    workers: tuple[str, int]


class Counts(NamedTuple):
    """What its tower is.

    classes: None where their number is unknown; parameters is then without any. learned: parameters.
    flops: of an image's forward pass, by its shape; empty where nothing tells. passes: by how many of these a
    step is counted.
    """

    classes: int | None
    parameters: int
    per_class: int
    learned: int
    flops: Mapping[Shape, int]
    passes: int = BACKWARD


def estimate(
    plan: Plan, counts: Counts, checks: Checks, memory: Callable[[cost.Pieces], dict[str, int] | None]
) -> DryRun:
    """The run's arithmetic, its cost and what `checks` has found.

    memory: bytes of each process at its peak by what they are for, for steps taken so; checked too.
    """
    recipe: TrainingSettings = plan.loaded.value
    schedule, processes = plan.schedule, plan.processes
    sizes = recipe.image_sizes(plan.base)
    # The last process has the largest share.
    pieces = cut(recipe.global_batch_size, processes - 1, processes, recipe.device_batch_size)
    rows = _sizes(plan, counts)
    flops = float(sum(counts.passes * row.steps * row.images * row.flops_per_image for row in rows)) or None
    speed = cost.speed(recipe, plan.devices, processes)
    step = cost.Pieces(
        max(sizes), max(map(len, pieces)), len(pieces), processes, 1 if schedule is None else len(schedule)
    )
    found = DryRun(
        values=[
            Value(key=key, value=value, origin=plan.loaded.origins[key]) for key, value in leaves(recipe)
        ],
        refusals=[],
        steps=None if schedule is None else len(schedule),
        images=None if schedule is None else schedule.samples(),
        steps_before=plan.steps_before,
        sizes=rows,
        batch_over_base=None
        if schedule is None
        else schedule.samples() / len(schedule) / recipe.global_batch_size,
        processes=processes,
        process_batch=sum(map(len, pieces)),
        micro_batch=step.rows,
        accumulation=step.pieces,
        vocabulary_size=counts.classes,
        parameters=counts.parameters,
        parameters_per_class=counts.per_class,
        learned_parameters=None if counts.learned == counts.parameters else counts.learned,
        checkpoint_bytes=None
        if counts.classes is None
        else _checkpoint_bytes(counts, averaged=recipe.ema.momentum is not None),
        flops=flops,
        gpu_hours=flops and flops / (cost.PEAK_FLOPS * cost.UTILISATION) / 3600,
        device=speed.device,
        device_flops=speed.flops,
        seconds=flops and flops / (speed.flops * cost.UTILISATION),
        memory=checks.of(lambda: memory(step)),
        shared_memory_bytes=max(shared_memory_bytes(plan.workers[1], size) for size in sizes),
        warnings=[] if schedule is None else recipe.warnings(len(schedule)),
    )
    found.refusals = checks.refusals
    found.warnings += _of_the_machine(plan, found)
    return found


def _sizes(plan: Plan, counts: Counts) -> list[SizeRow]:
    """The steps of each shape that remain."""
    if plan.schedule is None or not counts.flops:
        return []
    return [
        SizeRow(**shape._asdict(), steps=steps, images=first.rows, flops_per_image=counts.flops[shape])
        for shape, (steps, first) in plan.schedule.by_shape(plan.steps_before).items()
    ]


def _checkpoint_bytes(counts: Counts, *, averaged: bool) -> int:
    """Bytes of a checkpoint: float32 weights, two moments of what learns, the raw weights beside an EMA."""
    return 4 * (counts.parameters * (2 if averaged else 1) + 2 * counts.learned)


def _of_the_machine(plan: Plan, found: DryRun) -> list[str]:
    """Warnings of cores and memory that are too few."""
    key, workers = plan.workers[0], plan.workers[1] * plan.processes
    short = cost.shortages(found.memory, found.shared_memory_bytes, plan.processes, plan.devices, key)
    if plan.devices is not None and workers > (os.cpu_count() or 1):
        return [f"{key}: {workers} workers share {os.cpu_count()} cores", *short]
    return short
