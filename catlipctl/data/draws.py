"""Random numbers as a function of integers, with no state: the same on every rank, worker and resume."""

from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

MASK = 0xFFFF_FFFF_FFFF_FFFF
GOLDEN = 0x9E37_79B9_7F4A_7C15


@overload
def hashed(value: int) -> int: ...
@overload
def hashed(value: NDArray[np.uint64]) -> NDArray[np.uint64]: ...
def hashed(value: Any) -> Any:
    """64 well-mixed bits of 64 bits, an int or an array: SplitMix64 (Steele, Lea, Flood, 2014)."""
    value = (value + GOLDEN) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58_476D_1CE4_E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D0_49BB_1331_11EB) & MASK
    return value ^ (value >> 31)


def uniform(key: int, index: int) -> float:
    """Draw number `index` of the stream `key`, in [0, 1)."""
    return (hashed((key + index * GOLDEN) & MASK) >> 11) * 2.0**-53
