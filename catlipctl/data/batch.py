"""What goes from the loader to an objective: a piece of one rank's share of a step."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

Targets = Mapping[str, Tensor]
"""What an objective's collator made of captions or labels: tensors that are joined end to end.

Of two chunks of samples, each tensor's concatenation is the collation of both. So a tensor has a row a sample
(`tokens [B, L]`), or its rows are counted by another one (`classes [P]` by `counts [B]`).
"""


class Shape(NamedTuple):
    """What the work on an image depends on: pixels a side, and the share of its patches left out."""

    size: int
    token_drop: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run: its number from 0, pixels a side, images over all processes, samples before it.

    token_drop: the share of an image's patches that the tower leaves out.
    """

    index: int
    size: int
    rows: int
    start: int
    token_drop: float = 0.0

    @property
    def shape(self) -> Shape:
        """Of its images."""
        return Shape(self.size, self.token_drop)


def share(rows: int, rank: int, world: int) -> range:
    """The rows of a step that a rank has: contiguous, and as many as any other has, give or take one."""
    return range(rows * rank // world, rows * (rank + 1) // world)


@dataclass(frozen=True, slots=True)
class Batch:
    """Images and what is to be learned of them; nothing in it is of size B x V, nothing is float.

    images: `[B, 3, S, S]`, uint8. targets: as the objective's collator made them.
    positions: `[B]`, int64, on the CPU: samples that the run had consumed before each of these.
    samples: `[B]`, int64, on the CPU: the source's indices, after any replacement of an unreadable image.
    counted: rows that count in the loss; 0 in a piece that only keeps this rank in step with the others.
    replaced: images that could not be read, each replaced by a neighbour.
    """

    step: Step
    images: Tensor
    targets: Targets
    positions: Tensor
    samples: Tensor
    counted: int
    replaced: int = 0

    def __len__(self) -> int:
        return self.images.shape[0]

    def to(self, device: torch.device) -> "Batch":
        """The batch with its images and targets on `device`."""
        targets = {name: tensor.to(device, non_blocking=True) for name, tensor in self.targets.items()}
        return replace(self, images=self.images.to(device, non_blocking=True), targets=targets)
