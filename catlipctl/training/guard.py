"""Loss or gradient is not finite: the step is skipped, and the third in a row ends the run.

The device has decided it (see `Learner.step`); here it is told, a step late.
"""

from typing import Any

from catlipctl.checkpoints.directory import step_name
from catlipctl.errors import CatlipctlError, NonFiniteLoss
from catlipctl.progress import Progress
from catlipctl.training.capture import Capture, captured, what
from catlipctl.training.report import RunState
from catlipctl.training.saving import Saves
from catlipctl.training.underway import MOST_SKIPPED, Outcome, Underway
from catlipctl.training.world import LONG_WAIT


class Guard:
    """Watches a run's steps; all processes see the same outcomes. Steps in a row count from its making.

    replays: can `runs replay` take the steps again?
    """

    def __init__(self, saves: Saves, state: RunState, progress: Progress, *, replays: bool = False) -> None:
        self._saves, self._state, self._progress, self._replays = saves, state, progress, replays
        self._skipped: list[tuple[Underway, Outcome]] = []

    def watch(self, underway: Underway, outcome: Outcome) -> None:
        """Warn of a step that was skipped; NonFiniteLoss, in all processes, at the last that may be.

        Then the weights, which none of the skipped steps has changed, are saved, and the steps captured.
        """
        if outcome.finite:
            self._skipped.clear()
            return
        self._skipped.append((underway, outcome))
        said = f"the {what(outcome)} became non-finite at step {underway.step.index + 1:,}"
        if len(self._skipped) < MOST_SKIPPED:
            self._progress.warn(f"{said}: it was skipped, and changed nothing")
            return
        capture = self._captured()
        run = self._saves.run
        at_fault = capture.steps[-1].at_fault
        ranks = sorted({piece.rank for piece in at_fault})
        samples = [sample for piece in at_fault for sample in piece.samples]
        error = NonFiniteLoss(
            f"{said}, and in the {MOST_SKIPPED - 1} steps before it: in batches with samples "
            f"{_first(samples, 16)} of {'process' if len(ranks) == 1 else 'processes'} {_first(ranks, 8)}",
            (f"catlipctl runs replay {run} shows where it begins. " if self._replays else "")
            + f"--resume goes on after these steps, which changed no weight ({run / capture.checkpoint}); "
            "lower optimiser.lr, or raise schedule.warmup_steps, if it comes again",
        )
        # All raise it: whoever is the first tells it for all, as of no other process.
        error.rank = 0  # type: ignore[attr-defined]
        raise error

    def _captured(self) -> Capture:
        """The steps that were skipped, as the run's directory keeps them; and the weights. All call."""
        saves, world = self._saves, self._saves.world
        world.wait_at_most(LONG_WAIT)
        try:
            saves.save(self._state)
            saves.finish()
        except CatlipctlError as error:
            # In all processes. Why the run ends is not that its disk is full.
            self._progress.warn(f"the weights are not saved, so nothing can be replayed: {error.message}")
        capture = Capture(
            checkpoint=f"checkpoints/{step_name(self._state.step)}",
            length=len(saves.schedule),
            processes=world.size,
            device=world.device.type,
            precision=str(saves.learner.precision).removeprefix("torch."),
            steps=captured(self._skipped, world),
        )
        world.on_main(lambda: capture.write(saves.run))
        return capture


def _first(values: list[Any], most: int) -> str:
    return ", ".join(map(str, values[:most])) + (", ..." if len(values) > most else "")
