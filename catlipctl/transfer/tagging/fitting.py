"""Thresholds of classes from captioned images: one a class, and one for all classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from catlipctl.transfer.tagging import thresholds
from catlipctl.transfer.tagging.scored import Scored

GRID = 256
"""Thresholds that are tried where one serves all classes."""


class Fit:
    """Thresholds from some of the images, as logits.

    one, one_for_micro: of all classes alike, with the highest macro and micro F1 over the classes `own`.
    """

    def __init__(self, scored: Scored, own: Sequence[int], grid: Tensor, rows: Tensor | None = None) -> None:
        """own: classes with enough images for a threshold each. rows: `[N]`, bool; None: all images."""
        self._scored, self._rows, self._own = scored, rows, torch.tensor(own)
        logits, positive = scored.some(own, rows)
        slope, bias = thresholds.scaling(logits.reshape(-1, 1), positive.reshape(-1, 1), precision=1e-3)
        self._slope, self._bias = float(slope), float(bias)
        macro, micro = by_threshold(scored, own, grid, rows)
        self.one, self.one_for_micro = float(grid[macro.argmax()]), float(grid[micro.argmax()])

    def cuts(self, ids: Sequence[int]) -> Tensor:
        """`[len(ids)]`, float64: a class's own; else `one_for_micro`, which tells least."""
        found = torch.full((len(ids),), self.one_for_micro, dtype=torch.float64)
        mine = torch.isin(torch.tensor(ids), self._own)
        if mine.any():
            logits, positive = self._scored.block(torch.tensor(ids)[mine].tolist(), self._rows)
            found[mine] = thresholds.fitted(logits, positive, self._slope, self._bias)
        return found


def grid_of(scored: Scored, ids: Sequence[int]) -> Tensor:
    """Logits that one threshold for all is chosen among: where those of right classes lie."""
    logits, positive = scored.some(ids)
    right = logits[positive].double()
    low, high = (float(right.min()), float(right.max())) if len(right) else (-10.0, 10.0)
    return torch.linspace(low, high, GRID, dtype=torch.float64)


def by_threshold(
    scored: Scored, ids: Sequence[int], grid: Tensor, rows: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Macro and micro F1 `[T]` over these classes, where one threshold of `grid` serves all."""
    macro, all_hits, all_told = (torch.zeros(len(grid), dtype=torch.float64) for _ in range(3))
    right = 0
    for block in scored.blocks(ids):
        logits, positive = scored.block(block, rows)
        told, hits = _at_least(logits, grid), _at_least(logits.where(positive, -torch.inf), grid)
        count = positive.sum(0)
        macro += (2 * hits / (told + count).clamp_min(1)).sum(1)
        all_hits += hits.sum(1)
        all_told += told.sum(1)
        right += int(count.sum())
    return macro / len(ids), 2 * all_hits / (all_told + right).clamp_min(1)


def _at_least(values: Tensor, grid: Tensor) -> Tensor:
    """`[T, C]`: how many of each column of `[N, C]` are at least each of the grid."""
    rising = values.T.double().contiguous().sort(1).values
    below = torch.searchsorted(rising, grid.expand(len(rising), -1).contiguous())
    return (len(values) - below).T.double()
