"""Captioned images under a linear head, a block of classes at a time: no array of all pairs is ever held."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from catlipctl.transfer.tagging.captions import Named

CELLS = 1 << 22
"""Pairs of image and class that are in memory at once."""


@dataclass(frozen=True)
class Scored:
    """features: `[N, D]`. weight, bias: of the head, `[V, D]` and `[V]`. named: what the captions name."""

    features: Tensor
    weight: Tensor
    bias: Tensor
    named: Named

    def __len__(self) -> int:
        return len(self.features)

    def often(self, images: int) -> list[int]:
        """The classes that so many images have."""
        return torch.where(self.named.counts >= images)[0].tolist()

    def block(self, ids: Sequence[int], rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits and which are right, `[N, len(ids)]`; rows: `[N]`, bool, of these images alone."""
        features, positive = self.features, self.named.block(ids)
        if rows is not None:
            features, positive = features[rows], positive[rows]
        return features @ self.weight[ids].T + self.bias[ids], positive

    def blocks(self, ids: Sequence[int]) -> Iterator[Sequence[int]]:
        """The classes, so many at once that `CELLS` pairs are in memory."""
        size = max(1, CELLS // len(self))
        return (ids[start : start + size] for start in range(0, len(ids), size))

    def some(self, ids: Sequence[int], rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `block`, of evenly spread images, so many that all classes fit in memory."""
        images = torch.arange(len(self)) if rows is None else torch.where(rows)[0]
        picked = torch.zeros(len(self), dtype=torch.bool)
        picked[images[:: -(-len(images) * len(ids) // CELLS)]] = True
        return self.block(ids, picked)
