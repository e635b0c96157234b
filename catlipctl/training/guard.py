"""Loss or gradient is not finite: the step is skipped, and the third in a row ends the run.

The device has decided it (see `Learner.step`); here it is told, a step late.
"""

import math

from catlipctl.errors import NonFiniteLoss
from catlipctl.progress import Progress
from catlipctl.training.underway import MOST_SKIPPED, Outcome, Underway
from catlipctl.training.world import World


class Guard:
    """Watches a run's steps; all processes see the same outcomes. Steps in a row count from its making."""

    def __init__(self, world: World, progress: Progress) -> None:
        self._world, self._progress = world, progress
        self._skipped: list[Underway] = []

    def watch(self, underway: Underway, outcome: Outcome) -> None:
        """Warn of a step that was skipped; NonFiniteLoss, in all processes, at the last that may be."""
        if outcome.finite:
            self._skipped.clear()
            return
        self._skipped.append(underway)
        what = "gradient" if math.isfinite(outcome.loss) else "loss"
        said = f"the {what} became non-finite at step {underway.step.index + 1:,}"
        if len(self._skipped) < MOST_SKIPPED:
            self._progress.warn(f"{said}: it was skipped, and changed nothing")
            return
        samples = self._world.gather([int(s) for piece in underway.samples for s in piece])
        shown = ", ".join(map(str, samples[:16])) + (", ..." if len(samples) > 16 else "")
        raise NonFiniteLoss(
            f"{said} in a batch with samples {shown}, as in the {MOST_SKIPPED - 1} before it",
            "lower optimiser.lr, raise schedule.warmup_steps, or look at these samples; "
            "the weights were not changed by these steps",
        )
