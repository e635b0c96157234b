"""Training features as the solver wants them: centred, of unit scale, along principal axes, chunk by chunk.

Nothing of the size of N x K is ever held, and of N x D nothing but the features themselves where they are
large. They stay in their own type (float16 halves them) and are converted a chunk at a time.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

CELLS_AT_ONCE = 1 << 22
"""Logits of a chunk, or features where they are wider: 32 MiB in float64. Larger chunks are no faster."""
HELD = 1 << 26
"""Coordinates that are kept from one pass to the next: 512 MiB in float64. More are made again in each pass,
which then reads the features as they are and turns the weights instead.
"""
ROOM = 1 << 30
"""Bytes that a GPU must have free beside the features."""


def placed(features: Tensor) -> Tensor:
    """The features on the GPU where there is one with room for them, else where they are."""
    if features.is_cuda or not torch.cuda.is_available():
        return features
    free, _ = torch.cuda.mem_get_info()
    return features.cuda() if features.nbytes + ROOM < free else features


def chunks(samples: int, width: int) -> Iterator[slice]:
    """The samples in order, so many at once that `CELLS_AT_ONCE` bounds a chunk of `width` numbers each."""
    size = max(1, CELLS_AT_ONCE // width)
    for start in range(0, samples, size):
        yield slice(start, min(start + size, samples))


def mean(features: Tensor, rows: Tensor | None = None) -> Tensor:
    """`[D]`, float64, of all features `[N, D]` or of those of `rows`."""
    taken = len(features) if rows is None else len(rows)
    total = features.new_zeros(features.shape[1], dtype=torch.float64)
    for part in chunks(taken, features.shape[1]):
        total += (features[part] if rows is None else features[rows[part]]).double().sum(0)
    return total / taken


class Samples:
    """Features `[N, D]` of any float type, or those of `rows`, for a solver that computes in `dtype`.

    A sample is `axes^T (feature - mean) / scale`, R numbers. mean `[D]`, scale (the root mean square norm of
    the centred features) and axes `[D, R]` are float64. width: the longest vector that a pass makes of a
    sample.
    """

    def __init__(self, features: Tensor, rows: Tensor | None, *, dtype: torch.dtype, width: int) -> None:
        self._features, self._rows, self._dtype = features, rows, dtype
        self._length = len(features) if rows is None else len(rows)
        self._width = max(width, features.shape[1])
        self.mean = mean(features, rows)
        self.axes, total = self._principal_axes()
        self.scale = (total / self._length).sqrt().clamp_min(1e-12)
        self._turn: Tensor | None = None
        if self._length * self.axes.shape[1] <= HELD:
            turn = self.axes / self.scale
            self._held = torch.cat([(x @ turn).to(dtype) for _, x in self._centred(torch.float64)])
        else:
            self._turn = (self.axes / self.scale).to(dtype)

    def __len__(self) -> int:
        return self._length

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """All samples, `[n, R]` a chunk; `[n, D]`, not yet turned, where they are not held."""
        if self._turn is not None:
            yield from self._centred(self._dtype)
            return
        for part in chunks(self._length, self._width):
            yield part, self._held[part]

    def along(self, vectors: Tensor) -> Tensor:
        """`[n, R]`, in coordinates along the axes, of a chunk or of what was summed over chunks."""
        return vectors if self._turn is None else vectors @ self._turn

    def weight(self, along: Tensor) -> Tensor:
        """What chunks are multiplied with, of a weight `[K, R]` along the axes."""
        return along if self._turn is None else along @ self._turn.T

    def _centred(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        centre = self.mean.to(dtype)
        for part in chunks(self._length, self._width):
            rows = part if self._rows is None else self._rows[part]
            yield part, self._features[rows].to(dtype) - centre

    def _principal_axes(self) -> tuple[Tensor, Tensor]:
        """`[D, R]`, orthonormal axes that span the centred features; and the sum of their squares.

        Axes without variance are left out.
        """
        width = self._features.shape[1]
        if self._length > width:
            products = self.mean.new_zeros(width, width)
            for _, x in self._centred(torch.float64):
                products.addmm_(x.T, x)
            variances, axes = torch.linalg.eigh(products)
        else:
            centred = torch.cat([x for _, x in self._centred(torch.float64)])
            _, singular, rows = torch.linalg.svd(centred, full_matrices=False)
            variances, axes = singular.square(), rows.T
        return axes[:, variances > variances.max() * 1e-12], variances.sum()
