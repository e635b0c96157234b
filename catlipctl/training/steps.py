"""The one owner of a run's arithmetic: how many steps, at which size, of how many images, after how many.

A table over steps, in closed form from recipe and seed, so equal on all ranks and after any resume. Nobody
else multiplies steps by a batch.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from catlipctl.data.batch import Step, share
from catlipctl.data.draws import MASK, hashed

SIZE_DRAWS = 0x5125
"""Tells the draws of sizes from all others of the same seed."""


class Length(BaseModel):
    """How long to train: exactly one of the three."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    exclusive: ClassVar = ("samples", "epochs", "steps")

    samples: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _exactly_one(self) -> "Length":
        given = [name for name in self.exclusive if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of samples, epochs and steps, not {', '.join(given) or 'none'}")
        return self

    @property
    def unit(self) -> str:
        """Which of the three it is."""
        return next(name for name in self.exclusive if getattr(self, name) is not None)

    def in_samples(self, source_size: int | None) -> int | None:
        """Samples to see; None where steps were given, or for epochs of a source of unknown size."""
        if self.epochs is not None:
            return None if source_size is None else math.ceil(self.epochs * source_size)
        return self.samples


class Sizes(BaseModel):
    """Image sizes that change from step to step, around the model's own size, the base.

    min, max: the multi-scale variable batch sampler (CatLIP, Appendix A; CoreNet's): `scales` sizes from min
    to max, rounded to a `multiple`, one drawn uniformly for each step. from, to: sizes that grow, in `stages`
    of equal length. batch: `area` scales the batch so that a step has as many pixels as at the base
    size, `fixed` leaves it. unit: by how many images of the base size a batch is scaled; the released code
    scales each device's 1,024 and rounds that. null: the whole batch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    min: int | None = Field(default=None, ge=16)
    max: int | None = Field(default=None, ge=16)
    scales: int = Field(default=25, ge=1)
    from_: int | None = Field(default=None, ge=16, alias="from")
    to: int | None = Field(default=None, ge=16)
    stages: int = Field(default=4, ge=1)
    multiple: int = Field(default=16, ge=1)
    batch: Literal["area", "fixed"] = "area"
    unit: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_kind(self) -> "Sizes":
        kinds = [(self.min, self.max), (self.from_, self.to)]
        if sum(any(bound is not None for bound in kind) for kind in kinds) != 1:
            raise ValueError("give either min and max, or from and to")
        low, high = kinds[0] if kinds[0] != (None, None) else kinds[1]
        if low is None or high is None or low > high:
            raise ValueError("give both bounds, the smaller one first")
        return self

    @property
    def grows(self) -> bool:
        """Small sizes first, or drawn for each step?"""
        return self.from_ is not None

    def choices(self, base: int) -> list[int]:
        """The sizes, ascending, the multi-scale ones with the base among them (reference 2.5)."""
        low, high = (self.from_, self.to) if self.grows else (self.min, self.max)
        assert low is not None
        assert high is not None
        spread = np.linspace(low, high, self.stages if self.grows else self.scales)
        wanted = [*spread, *([] if self.grows else [base])]
        return sorted({int(round(size / self.multiple) * self.multiple) for size in wanted})

    def rows(self, size: int, base: int, batch: int) -> int:
        """Images of a step at a size, over all processes, where one at the base size has `batch`."""
        if self.batch == "fixed":
            return batch
        unit = self.unit or batch
        # As the released sampler rounds: first to two places, then down.
        return max(1, int(round(base * base * unit / (size * size), 2)) * batch // unit)


@dataclass(frozen=True, eq=False)
class StepSchedule:
    """All steps of a run. sizes, rows: `[N]`; starts: `[N + 1]`, samples consumed before each step."""

    sizes: NDArray[np.int32]
    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    base_size: int

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Step:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return Step(index, int(self.sizes[index]), int(self.rows[index]), int(self.starts[index]))

    def since(self, first: int) -> Iterator[Step]:
        """The steps from number `first` to the end."""
        return (self[index] for index in range(first, len(self)))

    def samples(self, step: int | None = None) -> int:
        """Samples that a run has consumed before a step; without one, in all."""
        return int(self.starts[-1 if step is None else step])

    def by_size(self) -> dict[int, tuple[int, int]]:
        """Size -> how many steps have it, and the images of one."""
        sizes, first, counts = np.unique(self.sizes, return_index=True, return_counts=True)
        return {
            int(size): (int(count), int(self.rows[at]))
            for size, at, count in zip(sizes, first, counts, strict=True)
        }

    def most(self, size: int, device_batch: int | None) -> int | None:
        """Images that a device takes at once at a size, by a budget of pixels: `device_batch` at the base."""
        return device_batch and max(1, device_batch * self.base_size**2 // size**2)

    def pieces(self, step: Step, rank: int, world: int, device_batch: int | None = None) -> list[range]:
        """A rank's rows of a step, cut into pieces that a device can take: equally many on all ranks.

        Where a rank has fewer rows than there are pieces, one of its pieces is empty.
        """
        return cut(step.rows, rank, world, self.most(step.size, device_batch))


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
    """
    step, consumed = begun
    samples = length.in_samples(source_size)
    if length.steps is None and samples is None:
        return None
    choices = [base_size] if sizes is None else sizes.choices(base_size)
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
