"""The exponential moving average of the weights (EMA), fitted to the length of the run."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Average:
    """Averages of weights and buffers by name, as the released code has it: a <- a + m (w - a).

    They start at the weights, and lie where these lie: of a shard a shard. What is no float (a BatchNorm's
    count of batches) is copied.
    """

    def __init__(self, weights: Mapping[str, Tensor], momentum: float) -> None:
        self.momentum = momentum
        self.values = {name: value.detach().clone() for name, value in weights.items()}
        self._weights = weights

    @torch.no_grad()
    def update(self, skipped: Tensor) -> None:
        """Move towards the weights as they are now; stay where `skipped`, on the device, holds."""
        floats = [name for name, value in self.values.items() if value.is_floating_point()]
        kinds = {self.values[name].dtype for name in floats}
        momentum = {kind: (~skipped).to(kind) * self.momentum for kind in kinds}
        torch._foreach_lerp_(
            [self.values[name] for name in floats],
            [self._weights[name] for name in floats],
            [momentum[self.values[name].dtype] for name in floats],
        )
        for name in self.values.keys() - set(floats):
            self.values[name].copy_(self._weights[name])

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange weights and averages; a second time puts all back, bit for bit."""
        for name, value in self.values.items():
            kept = self._weights[name].clone()
            self._weights[name].copy_(value)
            value.copy_(kept)
