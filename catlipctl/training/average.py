"""The exponential moving average of the weights (EMA), fitted to the length of the run."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Average:
    """Averages of a module's parameters and buffers, as the released code has it: a <- a + m (w - a).

    It starts at the module's weights. What is no float (a BatchNorm's count of batches) is copied. A tensor
    is averaged where it lies, so a shard stays a shard.
    """

    def __init__(self, module: nn.Module, momentum: float) -> None:
        self.momentum = momentum
        self._module = module
        self._values = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, skipped: Tensor) -> None:
        """Move towards the module's weights as they are now; stay where `skipped`, on the device, holds."""
        weights = self._module.state_dict()
        floats = [name for name, value in self._values.items() if value.is_floating_point()]
        kinds = {self._values[name].dtype for name in floats}
        momentum = {kind: (~skipped).to(kind) * self.momentum for kind in kinds}
        torch._foreach_lerp_(
            [self._values[name] for name in floats],
            [weights[name] for name in floats],
            [momentum[self._values[name].dtype] for name in floats],
        )
        for name in self._values.keys() - set(floats):
            self._values[name].copy_(weights[name])

    def state_dict(self) -> dict[str, Tensor]:
        """The averages under the module's names."""
        return dict(self._values)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take averages over; KeyError names one that is missing."""
        for name, value in self._values.items():
            value.copy_(state[name])
