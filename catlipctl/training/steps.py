"""The one owner of a run's arithmetic: how many steps, at which size, of how many images, after how many.

A table over steps, in closed form from recipe and seed, so equal on all ranks and after any resume. Nobody
else multiplies steps by a batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from catlipctl.data.batch import Shape, Step, share
from catlipctl.data.draws import MASK, hashed
from catlipctl.errors import UsageError
from catlipctl.settings import MOST_STEPS
from catlipctl.settings.training import Length, Sizes, TrainingSettings

SIZE_DRAWS = 0x5125
"""Tells the draws of sizes from all others of the same seed."""


@dataclass(frozen=True, eq=False)
class StepSchedule:
    """All steps of a run. sizes, rows: `[N]`; starts: `[N + 1]`, samples consumed before each step.

    token_drop: share of the patches that the first `dropping` steps leave out.
    """

    sizes: NDArray[np.int32]
    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    base_size: int
    token_drop: float = 0.0
    dropping: int = 0

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Step:
        if not 0 <= index < len(self):
            raise IndexError(index)
        token_drop = self.token_drop if index < self.dropping else 0.0
        size, rows, start = (int(column[index]) for column in (self.sizes, self.rows, self.starts))
        return Step(index, size, rows, start, token_drop)

    def since(self, first: int) -> Iterator[Step]:
        """The steps from number `first` to the end."""
        return (self[index] for index in range(first, len(self)))

    def samples(self, step: int | None = None) -> int:
        """Samples that a run has consumed before a step; without one, in all."""
        return int(self.starts[-1 if step is None else step])

    def by_shape(self, begun: int = 0) -> dict[Shape, tuple[int, Step]]:
        """Shape -> how many steps have it from number `begun` on, and the first of them; small ones first."""
        whole = np.arange(begun, len(self)) >= self.dropping
        keys = 2 * self.sizes[begun:].astype(np.int64) + whole
        _, first, counts = np.unique(keys, return_index=True, return_counts=True)
        steps = [self[begun + int(at)] for at in first]
        return {step.shape: (int(count), step) for step, count in zip(steps, counts, strict=True)}

    def most(self, size: int, device_batch: int | None) -> int | None:
        """Images that a device takes at once at a size, by a budget of pixels: `device_batch` at the base."""
        return device_batch and max(1, device_batch * self.base_size**2 // size**2)

    def pieces(self, step: Step, rank: int, world: int, device_batch: int | None = None) -> list[range]:
        """A rank's rows of a step, cut into pieces that a device can take: equally many on all ranks.

        Where a rank has fewer rows than there are pieces, one of its pieces is empty.
        """
        return cut(step.rows, rank, world, self.most(step.size, device_batch))


def planned(
    recipe: TrainingSettings, base_size: int, source_size: int | None = None, begun: tuple[int, int] = (0, 0)
) -> StepSchedule | None:
    """All steps of a recipe's run; None where they depend on the size of a source that was not opened.

    begun: steps and samples that the run has behind it.
    """
    found = schedule(
        recipe.length,
        recipe.global_batch_size,
        base_size=base_size,
        sizes=recipe.sizes,
        seed=recipe.seed,
        source_size=source_size,
        begun=begun,
    )
    if found is None:
        return None
    token_drop, whole = recipe.token_drop()
    dropping = len(found) - round(whole * len(found)) if token_drop else 0
    return replace(found, token_drop=token_drop, dropping=dropping)


def cut(rows: int, rank: int, world: int, most: int | None) -> list[range]:
    """A rank's share of a step's rows, in as few pieces of at most `most` as the largest share needs."""
    largest = -(-rows // world)
    count = -(-largest // (most or largest))
    own = share(rows, rank, world)
    pieces = (share(len(own), piece, count) for piece in range(count))
    return [own[piece.start : piece.stop] for piece in pieces]


def schedule(
    length: Length,
    batch: int,
    *,
    base_size: int,
    sizes: Sizes | None = None,
    seed: int = 0,
    source_size: int | None = None,
    begun: tuple[int, int] = (0, 0),
) -> StepSchedule | None:
    """The steps of a run that sees at least `length`; None for epochs of a source of unknown size.

    batch: images of a step at the base size, over all processes. base_size: pixels a side. begun: steps and
    samples that the run has behind it: those of another recipe, where batch, sizes or length have changed.
    UsageError for more steps than there may be.
    """
    step, consumed = begun
    samples = length.in_samples(source_size)
    if length.steps is None and samples is None:
        return None
    choices = [base_size] if sizes is None else sizes.choices(base_size)
    expected = length.steps or (samples or 0) / batch
    if expected > MOST_STEPS:
        raise UsageError(
            f"length: {samples:,} samples in steps of {batch:,} are more than {MOST_STEPS:,} steps",
            "raise global_batch_size, or train for less",
        )
    rows_of = {size: batch if sizes is None else sizes.rows(size, base_size, batch) for size in choices}
    most = length.steps or step + -(-max(0, (samples or 0) - consumed) // min(rows_of.values()))
    most = max(most, step)
    if sizes is not None and sizes.grows:
        found = _growing(choices, rows_of, length.steps, samples)
        found = np.pad(found, (0, max(0, most - len(found))), mode="edge")
    else:
        found = _drawn(choices, most, seed)
    rows = np.vectorize(rows_of.__getitem__, otypes=[np.int64])(found)
    starts = np.concatenate([[0], np.cumsum(rows)])
    starts += consumed - starts[step]
    if length.steps is None and samples is not None:
        last = max(step, int(np.searchsorted(starts, samples)))
        found, rows, starts = found[:last], rows[:last], starts[: last + 1]
    return StepSchedule(found, rows, starts, base_size)


def _drawn(choices: Sequence[int], steps: int, seed: int) -> NDArray[np.int32]:
    keys = hashed(np.arange(steps, dtype=np.uint64) ^ np.uint64(hashed((seed ^ SIZE_DRAWS << 32) & MASK)))
    uniform = (keys >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.array(choices, np.int32)[(uniform * len(choices)).astype(np.int64)]


def _growing(
    choices: Sequence[int], rows_of: dict[int, int], steps: int | None, samples: int | None
) -> NDArray[np.int32]:
    """Stages of as many steps each, or where samples are counted of as many samples."""
    if steps is not None:
        lengths = [len(share(steps, stage, len(choices))) for stage in range(len(choices))]
    else:
        assert samples is not None
        lengths = [-(-samples // (len(choices) * rows_of[size])) for size in choices]
    return np.repeat(np.array(choices, np.int32), lengths)
