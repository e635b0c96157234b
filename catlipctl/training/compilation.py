"""The compiled tower: every shape that a run will have before its first step, and what is compiled after it.

Compiling takes seconds to minutes a shape. In the middle of a run it would stop all processes, one after the
other, whenever a size is met for the first time; and what is met unforeseen is worth a warning.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from catlipctl.data.batch import Batch, Step
from catlipctl.objectives import Objective
from catlipctl.progress import SILENT, Progress
from catlipctl.training.steps import StepSchedule

if TYPE_CHECKING:
    from catlipctl.training.learner import Learner

SHAPES = 4096
"""So many a compiled tower may meet: more than a schedule has. Beyond torch's 8 it would go on uncompiled."""


class Compilation:
    """Modules that are compiled where they stand, so that their parameters keep their names.

    late: image size -> how often something was compiled at it after the warm-up.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        config = torch._dynamo.config
        config.recompile_limit = max(SHAPES, config.recompile_limit)
        config.accumulated_recompile_limit = max(SHAPES, config.accumulated_recompile_limit)
        for module in modules:
            module.compile(dynamic=False)
        self.late: Counter[int] = Counter()
        self._expected: int | None = None
        self._progress = SILENT

    def complete(self, progress: Progress) -> None:
        """All is compiled that will be needed; `progress` is warned of what is compiled later."""
        self._expected, self._progress = compiled(), progress

    def stepped(self, size: int) -> None:
        """A step at this size is done."""
        if self._expected is None or (now := compiled()) == self._expected:
            return
        if size not in self.late:
            self._progress.warn(
                f"the tower was compiled again at {size} px, after the warm-up: all processes waited for it; "
                "TORCH_LOGS=recompiles tells why"
            )
        self.late[size] += now - self._expected
        self._expected = now


def compiled() -> int:
    """How often this process has compiled a function, or a function once more."""
    return int(torch._dynamo.utils.counters["frames"]["total"])


def warm_up(
    learner: "Learner", schedule: StepSchedule, begun: int, device_batch: int | None, progress: Progress
) -> None:
    """Have a compiled tower compiled in all shapes of the steps from `begun` on. All processes call.

    By one made-up step of each shape, the largest first, so that a batch too large for the memory is known at
    once. Nothing that learns is changed, nor any generator. One step is made up, too, for DDP over three
    processes and more: after its first backward pass it sums in another order, which would otherwise begin
    one step after a start, and so elsewhere in a run that was resumed.
    """
    compilation, world = learner.compilation, learner.world

    def rehearse(step: Step) -> None:
        pieces = schedule.pieces(step, world.rank, world.size, device_batch)
        learner.rehearse(step, [made_up(learner.objective, step, rows) for rows in pieces])

    if compilation is None:
        if world.size > 2 and isinstance(learner.module, DistributedDataParallel):
            rehearse(schedule[begun])
        return
    steps = [step for _, step in reversed(schedule.by_shape(begun).values())]
    with progress.task("compiling the tower", total=len(steps), unit="shapes") as task:
        for step in steps:
            rehearse(step)
            task.advance(1, size=step.size)
    compilation.complete(progress)


def made_up(objective: Objective, step: Step, rows: range) -> Batch:
    """A piece as the loader gives it, of these rows of a step; black images. An empty piece has one row."""
    count, device = max(1, len(rows)), next(objective.parameters()).device
    positions = torch.arange(step.start, step.start + count)
    return Batch(
        step=step,
        images=torch.zeros((count, step.size, step.size, 3), dtype=torch.uint8).permute(0, 3, 1, 2),
        targets=objective.stand_ins(count),
        positions=positions,
        samples=positions,
        counted=len(rows),
    ).to(device)
