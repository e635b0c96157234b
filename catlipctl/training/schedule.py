"""The learning rate as a function of the step: linear warm-up, then a cosine to the end of the run."""

import math

from pydantic import BaseModel, ConfigDict, Field


class ScheduleSettings(BaseModel):
    """The recipe's section `schedule`; the peak is `optimiser.lr`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    warmup_steps: int = Field(default=0, ge=0)
    warmup_lr: float = Field(default=1e-6, ge=0)
    min_lr: float = Field(default=0.0, ge=0)


def learning_rate(step: int, steps: int, peak: float, settings: ScheduleSettings) -> float:
    """Learning rate of `step` (from 0) in a run of `steps`.

    From `warmup_lr` in a straight line to the peak at step `warmup_steps`, then half a cosine that would
    reach `min_lr` at step `steps`: the released code's rule (CoreNet `CosineScheduler`), whose 200,001
    updates with 10,000 of warm-up are `steps=200001` here.
    """
    if step < settings.warmup_steps:
        return settings.warmup_lr + (peak - settings.warmup_lr) * step / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, steps - settings.warmup_steps)
    return settings.min_lr + (peak - settings.min_lr) * 0.5 * (1 + math.cos(math.pi * done))
