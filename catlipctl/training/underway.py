"""A step that was launched, and what it came to: read when the next one is launched, so that nobody waits.

All that processes must know of one another goes the same way, in the vector that is summed over them anyhow.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from catlipctl.data.batch import Batch, Step

MOST_SKIPPED = 3
"""So many steps in a row whose loss or gradient is not finite end a run; after them no weight changes."""


class Told(NamedTuple):
    """What a process tells the others with a step.

    signal: the number of the one that asks it to stop, 0 for none. overdue: is it long ago that it saw a
    save? waited: seconds that it waited for this step's data.
    """

    signal: float = 0
    overdue: float = False
    waited: float = 0.0


class Learned(NamedTuple):
    """Which samples a piece had (see `Batch`)."""

    positions: Tensor
    samples: Tensor
    counted: int


@dataclass(frozen=True)
class Outcome:
    """What a step came to, over all processes: means over its images, and the gradient's norm unclipped.

    finite: were loss and gradient? If not, the step changed nothing. signals, overdue, waits: what each
    process has told, by rank. done: when the step was, by this process's `time.perf_counter`.
    """

    loss: float
    grad_norm: float
    parts: dict[str, float]
    replaced: int
    finite: bool
    signals: tuple[int, ...]
    overdue: tuple[bool, ...]
    waits: tuple[float, ...]
    done: float


class Underway:
    """A step that was launched.

    losses: of this process's pieces. totals: float64, over all processes: the loss, its parts by `names`, the
    images replaced, each process's `Told`, the gradient's norm, and whether the step changed nothing.
    """

    def __init__(
        self,
        step: Step,
        pieces: Sequence[Batch],
        losses: Sequence[Tensor],
        names: Sequence[str],
        totals: Tensor,
    ) -> None:
        self.step, self.losses, self._names = step, losses, names
        # Not the batches: their pixels would stay in memory.
        self.pieces = [Learned(piece.positions, piece.samples, piece.counted) for piece in pieces]
        self._done = time.perf_counter()
        self._arrived: torch.cuda.Event | None = None
        if totals.device.type == "cuda":
            self._totals = torch.empty_like(totals, device="cpu", pin_memory=True)
            self._totals.copy_(totals, non_blocking=True)
            self._arrived = torch.cuda.current_stream(totals.device).record_event()
        else:
            self._totals = totals

    def outcome(self) -> Outcome:
        """What it came to; waits until the device has done it."""
        if self._arrived is not None:
            self._arrived.synchronize()
            self._done, self._arrived = time.perf_counter(), None
        loss, *others, norm, skipped = self._totals.tolist()
        count = len(self._names)
        told = others[count + 1 :]
        slots = [Told(*told[at : at + len(Told._fields)]) for at in range(0, len(told), len(Told._fields))]
        return Outcome(
            loss=loss,
            grad_norm=norm,
            parts=dict(zip(self._names, others[:count], strict=True)),
            replaced=int(others[count]),
            finite=not skipped,
            signals=tuple(int(slot.signal) for slot in slots),
            overdue=tuple(bool(slot.overdue) for slot in slots),
            waits=tuple(slot.waited for slot in slots),
            done=self._done,
        )
