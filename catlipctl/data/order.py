"""The order in which samples are visited: a permutation per epoch in closed form, the same on all ranks.

Position p of a run is in epoch p // n, and that epoch's permutation takes p % n to a sample. It is a Feistel
network over the next power of two, walked until it lands below n (cycle walking; Black and Rogaway, "Ciphers
with Arbitrary Finite Domains", 2002): no list of n numbers, no buffer, resuming is arithmetic.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catlipctl.data.draws import GOLDEN, MASK, hashed
from catlipctl.errors import DataError

ROUNDS = 8
# On fewer bits a Feistel network has too few round functions to reach most permutations.
LEAST_BITS = 6
MOST_SAMPLES = 2**40


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
        return self._permuted(within, keys).astype(np.int64)

    def _permuted(self, values: NDArray[np.uint64], keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
        bits = max((self.samples - 1).bit_length(), LEAST_BITS)
        values = _feistel(values, keys, bits)
        outside = np.flatnonzero(values >= self.samples)
        while outside.size:
            values[outside] = _feistel(values[outside], keys[outside], bits)
            outside = outside[values[outside] >= self.samples]
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
