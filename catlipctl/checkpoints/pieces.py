"""A tensor of which each process holds some rows: what is saved of sharded state, and read back anywhere."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Piece:
    """One process's rows of a tensor that is cut along its first dimension.

    tensor: rows `first` to `first + len(tensor) - 1`, perhaps none. shape: of the whole tensor.
    """

    tensor: Tensor
    first: int
    shape: tuple[int, ...]
