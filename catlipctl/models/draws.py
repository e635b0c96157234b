"""Draws of images on their device, without state: functions of the seed and of an image's position in a run.

So they are the same on any number of processes, in any pieces, and in both passes of a contrastive step.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from catlipctl.data.draws import GOLDEN, MASK, hashed


def stream(seed: int, of: int) -> int:
    """The key of a stream of draws. of: what tells them from all others of the same seed and positions."""
    return hashed((hashed(seed & MASK) ^ of) & MASK)


def image_keys(key: int, positions: Tensor) -> NDArray[np.uint64]:
    """64 well-mixed bits of each position: `[B]`. positions: int64 `[B]`, on the CPU."""
    return hashed(positions.numpy().astype(np.uint64) * GOLDEN + key)


def device_keys(keys: NDArray[np.uint64], device: torch.device) -> Tensor:
    """32 bits of each of such keys, on a device: int32 `[B]`."""
    halves = torch.from_numpy((keys >> 32).astype(np.uint32).view(np.int32))
    return halves.to(device, non_blocking=True)


def bits(keys: Tensor, count: int) -> Tensor:
    """32 well-mixed bits of an image's key and a number below `count`: int32 `[B, count]`."""
    numbers = torch.arange(count, dtype=torch.int32, device=keys.device)
    return _mixed(_mixed(numbers + 1) ^ keys[:, None])


def _mixed(bits: Tensor) -> Tensor:
    """Well-mixed bits of int32 bits, of which each result belongs to one argument; `bits` is overwritten.

    Wellons' lowbias32.
    """
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32), (16, 1)):
        bits ^= (bits >> shift) & (2 ** (32 - shift) - 1)  # a shift of an int32 copies its sign
        bits *= factor
    return bits
