"""What a recipe comes to on a number of processes: steps, batches, accumulation, a checkpoint's size."""

from dataclasses import dataclass

import torch

from catlipctl.errors import UsageError
from catlipctl.training.average import TOO_MUCH_LEFT, left_of_start
from catlipctl.training.recipe import PretrainRecipe


@dataclass(frozen=True)
class Plan:
    """The arithmetic of a run. `steps` is None where it depends on a source that was not opened."""

    steps: int | None
    global_batch: int
    processes: int
    process_batch: int
    """Images of a step in the process that has most of them; the others have one less at most."""
    micro_batch: int
    accumulation: int
    ema_momentum: float | None
    warnings: tuple[str, ...]

    @property
    def samples(self) -> int | None:
        """Images that the run sees."""
        return None if self.steps is None else self.steps * self.global_batch


def plan(recipe: PretrainRecipe, processes: int, source_size: int | None = None) -> Plan:
    """The plan of a run on `processes`; UsageError where a process would get no image."""
    batch = recipe.global_batch_size
    if batch < processes:
        raise UsageError(
            f"global_batch_size is {batch}, fewer than the {processes} processes",
            "give each process an image",
        )
    share = -(-batch // processes)
    accumulation = -(-share // (recipe.device_batch_size or share))
    steps = recipe.length.in_steps(batch, source_size)
    warnings = [] if steps is None else _warnings(recipe, steps)
    return Plan(
        steps=steps,
        global_batch=batch,
        processes=processes,
        process_batch=share,
        # Even pieces: 10 images of which a device takes 8 go as 5 and 5.
        micro_batch=-(-share // accumulation),
        accumulation=accumulation,
        ema_momentum=None if steps is None else recipe.ema.of(steps),
        warnings=tuple(warnings),
    )


def _warnings(recipe: PretrainRecipe, steps: int) -> list[str]:
    warnings = []
    momentum = recipe.ema.of(steps)
    if momentum is not None and (left := left_of_start(momentum, steps)) > TOO_MUCH_LEFT:
        warnings.append(
            f"after {steps:,} steps the EMA still holds {left:.0%} of the initial weights: "
            "set ema.momentum=fit, or null for no EMA"
        )
    if recipe.schedule.warmup_steps >= steps:
        warnings.append(
            f"the warm-up of {recipe.schedule.warmup_steps:,} steps never ends in a run of {steps:,}: "
            "set schedule.warmup_steps"
        )
    return warnings


def parameters(recipe: PretrainRecipe, classes: int) -> int:
    """Parameters of the model with `classes` classes, counted without allocating them.

    UsageError where the recipe's model cannot be made.
    """
    from catlipctl import models

    with torch.device("meta"):
        model = models.create(recipe.model, classes)
    return sum(parameter.numel() for parameter in model.parameters())


def checkpoint_bytes(count: int, *, averaged: bool) -> int:
    """Bytes of a checkpoint: float32 weights, two moments, and the raw weights beside an EMA."""
    return 4 * count * (4 if averaged else 3)
