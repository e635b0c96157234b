"""The order in which samples are visited: a permutation per epoch in closed form, the same on all ranks.

`Order` mixes all samples, which wants random access. `LocalOrder` mixes those of a few shards at a time, for
what is read as a stream. `CaptionOrder` mixes distinct captions, each with one of its images.

Position p of a run is in epoch p // n, and that epoch's permutation takes p % n to a sample. It is a Feistel
network over the next power of two, walked until it lands below n (cycle walking; Black and Rogaway, "Ciphers
with Arbitrary Finite Domains", 2002): no list of n numbers, no buffer, resuming is arithmetic.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from catlipctl.data.draws import GOLDEN, MASK, hashed
from catlipctl.errors import DataError

ROUNDS = 8
# On fewer bits a Feistel network has too few round functions to reach most permutations.
LEAST_BITS = 6
MOST_SAMPLES = 2**40
SHARD_DRAWS = 0x5AA2_0000_0000
"""Tells the order of shards from the order inside a window."""
IMAGE_DRAWS = 0x13A6E_0000_0000
"""Tells which image of a caption comes first from all other draws of the seed."""


@dataclass(frozen=True)
class Order:
    """Visits each of `samples` once an epoch, in an order that (seed, epoch) decides."""

    samples: int
    seed: int

    def __post_init__(self) -> None:
        if not 1 <= self.samples <= MOST_SAMPLES:
            raise DataError(f"an order needs 1 to 2^40 samples, not {self.samples:,}", "check the source")

    def __call__(self, position: int) -> tuple[int, int]:
        """The epoch and the sample at a position (samples consumed before it)."""
        return position // self.samples, int(self.take(position, 1)[0])

    def take(self, start: int, count: int) -> NDArray[np.int64]:
        """The samples at positions `start` to `start + count - 1`: int64 `[count]`."""
        positions = np.arange(start, start + count, dtype=np.uint64)
        epochs, within = np.divmod(positions, np.uint64(self.samples))
        keys = hashed(epochs ^ np.uint64(hashed(self.seed & MASK)))
        return _permuted(within, keys, self.samples).astype(np.int64)


class LocalOrder:
    """Visits each sample once an epoch: shards in a permuted order, samples mixed inside `window` shards.

    shard_sizes: samples of each shard, in storage order. So the samples of a run of positions lie in at most
    two windows. With one window it mixes everything.
    """

    def __init__(self, shard_sizes: Sequence[int] | NDArray[np.int64], seed: int, window: int) -> None:
        self._sizes = np.array(shard_sizes, np.int64)
        self._first = np.cumsum(self._sizes) - self._sizes
        self.samples, self.seed, self.window = int(self._sizes.sum()), seed, window
        if self.samples < 1 or window < 1:
            raise DataError("a local order needs a sample, and a window of a shard", "check the source")
        self._shards = Order(len(self._sizes), hashed((seed ^ SHARD_DRAWS) & MASK))
        self._epoch_order = lru_cache(2)(self._make_epoch_order)
        self._windows = -(-len(self._sizes) // window)

    def __reduce__(self) -> tuple[type, tuple[NDArray[np.int64], int, int]]:
        return LocalOrder, (self._sizes, self.seed, self.window)

    def __call__(self, position: int) -> tuple[int, int]:
        """The epoch and the sample at a position (samples consumed before it)."""
        return position // self.samples, int(self.take(position, 1)[0])

    def take(self, start: int, count: int) -> NDArray[np.int64]:
        """The samples at positions `start` to `start + count - 1`: int64 `[count]`."""
        pieces = []
        while count > 0:
            epoch, within = divmod(start, self.samples)
            here = min(count, self.samples - within)
            pieces.append(self._within_epoch(epoch, within, here))
            start, count = start + here, count - here
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)

    def window_at(self, position: int) -> int:
        """Which window a position is in, counted over all epochs."""
        epoch, within = divmod(position, self.samples)
        ends = self._epoch_order(epoch)[2]
        return epoch * self._windows + int(np.searchsorted(ends, within, side="right"))

    def first_samples(self, window: int) -> list[int]:
        """The first sample of each shard that a window mixes, in the order of the shards there."""
        epoch, number = divmod(window, self._windows)
        shards = self._epoch_order(epoch)[0][number * self.window : (number + 1) * self.window]
        first: list[int] = self._first[shards[self._sizes[shards] > 0]].tolist()
        return first

    def _within_epoch(self, epoch: int, first: int, count: int) -> NDArray[np.int64]:
        shards, ends, window_ends = self._epoch_order(epoch)
        at = np.arange(first, first + count)
        window = np.searchsorted(window_ends, at, side="right")
        window_start = np.concatenate([[0], window_ends])[window]
        length = window_ends[window] - window_start
        keys = hashed(window.astype(np.uint64) ^ np.uint64(hashed((self.seed ^ epoch << 32) & MASK)))
        # In the epoch's order of shards: where in it the sample that is visited here lies.
        place = np.empty(count, np.int64)
        for one in np.unique(window):
            inside = window == one
            offset = (at[inside] - window_start[inside]).astype(np.uint64)
            place[inside] = _permuted(offset, keys[inside], int(length[inside][0])).astype(np.int64)
        place += window_start
        turn = np.searchsorted(ends, place, side="right")
        return self._first[shards[turn]] + place - (ends[turn] - self._sizes[shards[turn]])

    def _make_epoch_order(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The shards as this epoch visits them, where each ends, and where each window ends."""
        shards = self._shards.take(epoch * len(self._sizes), len(self._sizes))
        ends = np.cumsum(self._sizes[shards])
        last = np.arange(self.window, len(ends) + self.window, self.window).clip(max=len(ends)) - 1
        return shards, ends, ends[last]


class CaptionOrder:
    """Visits each distinct caption once an epoch, with one of the images that have it, in turn.

    captions: of every sample, in storage order; a sample of several counts as one that has just these. With k
    images of a caption, k epochs in a row show each of them; which one is first the seed decides. So no
    contrast is between two images of one caption, but at the seam of two epochs. samples: visited an epoch.
    """

    def __init__(self, captions: Iterable[tuple[str, ...]], seed: int) -> None:
        numbers: dict[tuple[str, ...], int] = {}
        of_sample = np.fromiter((numbers.setdefault(told, len(numbers)) for told in captions), np.int64)
        self.samples, self.seed = len(numbers), seed
        self._order = Order(self.samples, seed)
        self._images = np.argsort(of_sample, kind="stable")
        self._counts = np.bincount(of_sample)
        self._first = np.cumsum(self._counts) - self._counts

    def __call__(self, position: int) -> tuple[int, int]:
        """The epoch and the sample at a position (samples consumed before it)."""
        return position // self.samples, int(self.take(position, 1)[0])

    def take(self, start: int, count: int) -> NDArray[np.int64]:
        """The samples at positions `start` to `start + count - 1`: int64 `[count]`."""
        epochs = np.arange(start, start + count) // self.samples
        captions = self._order.take(start, count)
        keys = hashed(captions.astype(np.uint64) ^ np.uint64(hashed((self.seed ^ IMAGE_DRAWS) & MASK)))
        # Halved, so that it is a number with a sign; which half does not matter.
        turns = (keys >> np.uint64(1)).astype(np.int64) % self._counts[captions]
        return self._images[self._first[captions] + (turns + epochs) % self._counts[captions]]


def _permuted(values: NDArray[np.uint64], keys: NDArray[np.uint64], samples: int) -> NDArray[np.uint64]:
    """A permutation of `0 .. samples - 1`, one for each key."""
    bits = max((samples - 1).bit_length(), LEAST_BITS)
    values = _feistel(values, keys, bits)
    outside = np.flatnonzero(values >= samples)
    while outside.size:
        values[outside] = _feistel(values[outside], keys[outside], bits)
        outside = outside[values[outside] >= samples]
    return values


def _feistel(values: NDArray[np.uint64], keys: NDArray[np.uint64], bits: int) -> NDArray[np.uint64]:
    """A permutation of the numbers of `bits` bits, one for each key; halves of unequal size are allowed."""
    low = bits // 2
    low_mask, high_mask = 2**low - 1, 2 ** (bits - low) - 1
    left, right = values >> low, values & low_mask
    for turn in range(0, ROUNDS, 2):
        left = left ^ (hashed(keys + right + turn * GOLDEN % 2**64) & high_mask)
        right = right ^ (hashed(keys + left + (turn + 1) * GOLDEN % 2**64) & low_mask)
    return (left << low) | right
