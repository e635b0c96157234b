"""Labels as losses are told them, and what all losses do with them: nothing of size B x V is made.

No shape depends on a value, so the host never waits for the device.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 1 << 18
"""Logits worked on at once: in float32 a megabyte, which stays in a core's cache."""
CUDA_CHUNK = 1 << 24
"""On a GPU launching is what costs; 64 MB is still small beside the logits."""


class Pairs(NamedTuple):
    """Image `rows[p]` has class `classes[p]`: `[P]`, int64.

    A pair may repeat, with the same weight: it counts once. weights: `[P]`, at least 0, of a positive's term;
    None: 1. A pair of weight 0 is neither positive nor negative.
    """

    rows: Tensor
    classes: Tensor
    weights: Tensor | None = None

    @classmethod
    def of_counts(
        cls, classes: Tensor, counts: Tensor, weights: Tensor | None = None, own: Tensor | None = None
    ) -> "Pairs":
        """classes: `[P]`, one image's after another's. counts: `[B]`, how many each image has.

        weights: `[V]`, of each class. own: `[P]`, of each pair; both are multiplied.
        """
        rows = torch.arange(len(counts), device=counts.device)
        # Told the output's size, the host need not wait for the device to know it.
        rows = rows.repeat_interleave(counts, output_size=len(classes))
        pairs = cls(rows, classes, None if weights is None else weights[classes])
        return pairs if own is None else pairs._replace(weights=pairs.weighted(own))

    def of(self, logits: Tensor) -> Tensor:
        """The logits at the pairs: `[P]`, exact."""
        return logits[self.rows, self.classes].to(precision(logits))

    def first(self, classes: int) -> Tensor:
        """Whether a pair is the first of its kind: `[P]`, bool. classes: how many there are."""
        pairs, order = (self.rows * classes + self.classes).sort(stable=True)
        changes = torch.ones_like(pairs, dtype=torch.bool)
        changes[1:] = pairs[1:] != pairs[:-1]
        return torch.empty_like(changes).scatter_(0, order, changes)

    def weighted(self, values: Tensor) -> Tensor:
        """`values [P]` times the weights."""
        return values if self.weights is None else values * self.weights.to(values)


def precision(logits: Tensor) -> torch.dtype:
    """What losses are computed in, whatever autocast says: float32, or float64 where the logits are."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def chunks(logits: Tensor) -> tuple[Tensor, ...]:
    """Whole rows, as many as make a chunk."""
    size = CUDA_CHUNK if logits.is_cuda else CHUNK
    return logits.split(max(1, size // max(1, logits.shape[1])))


def negatives(logits: Tensor, pairs: Pairs) -> Iterator[Tensor]:
    """The logits chunk by chunk, exact, and minus infinity at the pairs."""
    begin = 0
    for chunk in chunks(logits):
        count = len(chunk)
        # Pairs of other chunks go to a row that nobody sees: to choose them would be a shape of values.
        padded = torch.empty(count + 1, logits.shape[1], dtype=precision(logits), device=logits.device)
        padded[:count].copy_(chunk)
        own = pairs.rows - begin
        own = torch.where((own >= 0) & (own < count), own, count)
        padded[own, pairs.classes] = -torch.inf
        begin += count
        yield padded[:count]
