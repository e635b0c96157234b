"""A step that was launched, and what it came to: read when the next one is launched, so that nobody waits.

All that processes must know of one another goes the same way, in the vector that is summed over them anyhow.
"""

import time
from collections.abc import Mapping, Sequence
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


class Values:
    """Losses and their parts of the pieces of a step, on the device until all are summed up."""

    def __init__(self, step: Step) -> None:
        self.losses: list[Tensor] = []
        self.names: list[str] = []
        self._rows = step.rows
        self._sums: list[Tensor] = []
        self._replaced = 0

    def add(self, piece: Batch, loss: Tensor, parts: Mapping[str, Tensor]) -> None:
        """One piece's loss and parts, means over its images."""
        self.names = list(parts)
        # Apple's devices have no float64.
        exact = torch.float32 if loss.device.type == "mps" else torch.float64
        values = torch.stack([value.detach().to(exact) for value in (loss, *parts.values())])
        self.losses.append(loss.detach())
        # Not by multiplying with 0: an idle piece's loss may be infinite.
        self._sums.append(
            values * (piece.counted / self._rows) if piece.counted else torch.zeros_like(values)
        )
        self._replaced += piece.replaced

    def totals(self, told: Sequence[float] = ()) -> Tensor:
        """Mean loss, mean parts, the number of replaced images, and `told`: float64, this rank's share."""
        sums = torch.stack(self._sums).sum(0)
        # From memory that is not pinned the host would wait for the device.
        counts = torch.tensor([self._replaced, *told], dtype=sums.dtype, pin_memory=sums.is_cuda)
        return torch.cat([sums, counts.to(sums.device, non_blocking=True)])


class Underway:
    """A step that was launched.

    losses: of this process's pieces. totals: float64, over all processes: the loss, its parts by `names`, the
    images replaced, each process's `Told`, the gradient's norm, and whether the step changed nothing.
    begun: when a GPU did (`mark`). waited: seconds that this process waited for the step's data.
    """

    def __init__(
        self,
        step: Step,
        pieces: Sequence[Batch],
        losses: Sequence[Tensor],
        names: Sequence[str],
        totals: Tensor,
        begun: torch.cuda.Event | None = None,
    ) -> None:
        self.step, self.losses, self._names = step, losses, names
        # Not the batches: their pixels would stay in memory.
        self.pieces = [Learned(piece.positions, piece.samples, piece.counted) for piece in pieces]
        self.waited = 0.0
        self._done = time.perf_counter()
        self._begun = begun
        self._ended: torch.cuda.Event | None = None
        self._arrived: torch.cuda.Event | None = None
        if totals.device.type == "cuda":
            self._totals = torch.empty_like(totals, device="cpu", pin_memory=True)
            self._totals.copy_(totals, non_blocking=True)
            self._arrived = self._ended = mark(totals.device)
        else:
            self._totals = totals

    def idle_since(self, before: "Underway") -> float:
        """Seconds in which the GPU had nothing to do between the step before and this one; both are read."""
        if self._begun is None or before._ended is None:
            return 0.0
        return max(0.0, before._ended.elapsed_time(self._begun) / 1000)

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


def mark(device: torch.device) -> torch.cuda.Event | None:
    """This moment in a GPU's work, which it will know the time of; None on a CPU."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


class DataWait:
    """Seconds that are lost as this process waits for data.

    On a CPU all that it waits. A GPU works on the step before meanwhile: there it is the gap that the GPU saw
    between the two steps, if the host waited as long. That is known when the step is read, so it is told with
    one of the next steps.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._lost = 0.0
        self._before: Underway | None = None

    def told(self, waited: float) -> float:
        """What to tell with a step for whose data this process waited so long."""
        lost, self._lost = self._lost, 0.0
        return lost if self._on_gpu else waited

    def read(self, underway: Underway) -> None:
        """A step is read."""
        if self._before is not None:
            self._lost += min(underway.waited, underway.idle_since(self._before))
        self._before = underway
