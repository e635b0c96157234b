"""Inverse document frequency, counted as a run goes (SuperClass 3.2, as its code has it).

Its code fails in a process alone, and where a step is taken in pieces. Here a step is counted as a whole,
before its first piece is learned from, and sent once. The counts are buffers: saved with the run, and put
back by the learner where a step is skipped.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from catlipctl.data.batch import Batch, Step


class InverseDocumentFrequency(nn.Module):
    """Weights of V classes by how rarely images had them so far.

    frequency: `[V]`, the sum over steps of the share of the step's images that have the class. steps: how
    many. smoothing: one over the last step's images. All float64, the same in all processes.
    """

    frequency: Tensor
    steps: Tensor
    smoothing: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("frequency", torch.zeros(classes, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.float64))
        self.register_buffer("smoothing", torch.ones((), dtype=torch.float64))

    @torch.no_grad()
    def count(self, step: Step, pieces: Sequence[Batch], world: int) -> None:
        """Add a step, of which this process has `pieces`; their `classes` are an image's own, each once.

        One vector of 4 V bytes is summed over processes. All of them call.
        """
        counts = torch.zeros(len(self.frequency), dtype=torch.int32, device=self.frequency.device)
        for piece in pieces:
            if piece.counted:
                classes = piece.targets["classes"]
                counts.index_add_(0, classes, torch.ones_like(classes, dtype=torch.int32))
        if world > 1:
            dist.all_reduce(counts)
        self.frequency.add_(counts.double() / step.rows)
        self.steps.add_(1)
        self.smoothing.fill_(1 / step.rows)

    @torch.no_grad()
    def weights(self) -> Tensor:
        """`[V]`, float32: log((steps + smoothing) / (frequency + smoothing)); 1 before the first step."""
        found = torch.log((self.steps + self.smoothing) / (self.frequency + self.smoothing))
        return torch.where(self.steps > 0, found, 1).float()
