"""The part of a recipe that every training run has: what the engine reads of it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from catlipctl.errors import UsageError
from catlipctl.training.average import TOO_MUCH_LEFT, EmaSettings, left_of_start
from catlipctl.training.optimiser import OptimiserSettings, ScheduleSettings
from catlipctl.training.steps import Length, Sizes, StepSchedule, schedule
from catlipctl.training.world import Precision


class TrainingSettings(BaseModel):
    """How a run trains, and nothing about the machine that it runs on. Tasks add what they train on."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    global_batch_size: int = Field(ge=1)
    """Images that one step sees, over all processes; with `sizes`, a step at the model's own size."""
    length: Length
    sizes: Sizes | None = None
    """Image sizes that change from step to step; null: the model's own."""
    optimiser: OptimiserSettings = Field(default_factory=OptimiserSettings)
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings)
    ema: EmaSettings = Field(default_factory=EmaSettings)
    precision: Precision = "auto"
    activation_checkpointing: bool = False
    """Compute the blocks' activations again in the backward pass: less memory, a third more work."""
    compile: bool = False
    """Compile the tower by torch.compile."""
    device_batch_size: int | None = Field(default=None, ge=1)
    """Most images that one device takes at once, at the model's own size; more are accumulated."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    log_every: int = Field(default=1, ge=1)
    save_every: int | None = Field(default=None, ge=1)
    """Steps between checkpoints that are kept; there is always one at the end and at a signal."""
    save_minutes: float | None = Field(default=10, gt=0)
    """Minutes between checkpoints of which the next one takes the place."""
    keep_last: int | None = Field(default=None, ge=1)
    """How many of the checkpoints that are kept stay, the newest ones; null: all."""

    def steps(
        self, base_size: int, source_size: int | None = None, begun: tuple[int, int] = (0, 0)
    ) -> StepSchedule | None:
        """All steps of the run; None where they depend on the size of a source that was not opened.

        begun: steps and samples that the run has behind it.
        """
        return schedule(
            self.length,
            self.global_batch_size,
            base_size=base_size,
            sizes=self.sizes,
            seed=self.seed,
            source_size=source_size,
            begun=begun,
        )

    def image_sizes(self, base_size: int) -> list[int]:
        """The sizes that the tower must take."""
        return [base_size] if self.sizes is None else self.sizes.choices(base_size)

    def must_share_out(self, base_size: int, processes: int) -> None:
        """UsageError where a step has fewer images than there are processes."""
        sizes, batch = self.sizes, self.global_batch_size
        fewest = batch
        if sizes is not None:
            fewest = min(sizes.rows(size, base_size, batch) for size in sizes.choices(base_size))
        if fewest < processes:
            raise UsageError(
                f"a step of {fewest} images cannot be shared out over {processes} processes",
                "raise global_batch_size: give each process an image",
            )

    def warnings(self, steps: int) -> list[str]:
        """What does not fit a run of `steps`."""
        found = []
        momentum = self.ema.of(steps)
        if momentum is not None and (left := left_of_start(momentum, steps)) > TOO_MUCH_LEFT:
            found.append(
                f"after {steps:,} steps the EMA still holds {left:.0%} of the initial weights: "
                "set ema.momentum=fit, or null for no EMA"
            )
        if self.schedule.warmup_steps >= steps:
            found.append(
                f"the warm-up of {self.schedule.warmup_steps:,} steps never ends in a run of {steps:,}: "
                "set schedule.warmup_steps"
            )
        return found

    def learner_options(self, steps: int) -> dict[str, Any]:
        """The keyword arguments that a `Learner` of this run has in common with all others."""
        return {
            "momentum": self.ema.of(steps),
            "compile": self.compile,
            "activation_checkpointing": self.activation_checkpointing,
            "seed": self.seed,
        }


FREE_ON_RESUME = frozenset(
    {
        "log_every",
        "save_every",
        "save_minutes",
        "keep_last",
        "device_batch_size",
        "compile",
        "activation_checkpointing",
    }
)
"""Keys that do not change what a step sees.

Nor what it does with it, but for one: a tower with BatchNorm takes its statistics over what one device has at
once, so another `device_batch_size` (like another number of processes) changes them, and resuming warns.
"""

FIXED_ON_RESUME = {"ema": "the average goes on as it began"}
"""Keys that may not change even where changes are allowed -> why."""
