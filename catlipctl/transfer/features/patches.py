"""A tower whose features are those of its patches, before they are pooled."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from catlipctl.data.transform import Preprocessing
from catlipctl.errors import UsageError
from catlipctl.models import Tower

LARGEST = 65504.0
"""Of float16."""


@dataclass(frozen=True, eq=False)
class PatchTower:
    """`tower`, giving `[B, T, D]`, float16, for T patches of an image.

    A ViT's are its tokens without class and register tokens; of a convolutional tower and of one with windows
    each place of the last map is one.
    """

    tower: Tower

    @property
    def module(self) -> nn.Module:
        """The tower's."""
        return self.tower.module

    @property
    def name(self) -> str:
        """Another than the tower's: features of patches are not taken for pooled ones."""
        return f"{self.tower.name} patches"

    @property
    def num_classes(self) -> int:
        """The tower's."""
        return self.tower.num_classes

    @property
    def preprocessing(self) -> Preprocessing:
        """The tower's."""
        return self.tower.preprocessing

    @property
    def head(self) -> nn.Module:
        """The tower's."""
        return self.tower.head

    def linear_head(self) -> nn.Linear:
        """The tower's."""
        return self.tower.linear_head()

    def features(self, images: Tensor) -> Tensor:
        """`[B, T, D]`, float16; UsageError for a tower whose last features are no such map."""
        module: Any = self.tower.module
        found = module.forward_features(images)
        if isinstance(found, Tensor) and found.ndim == 4:
            last = getattr(module, "output_fmt", "NCHW") == "NHWC"
            found = found.flatten(1, 2) if last else found.flatten(2).transpose(1, 2)
        elif isinstance(found, Tensor) and found.ndim == 3:
            found = found[:, getattr(module, "num_prefix_tokens", 0) :]
        else:
            raise UsageError(
                f"{self.tower.name} gives no features of patches", "probe it by its pooled features: eval lp"
            )
        return found.clamp(-LARGEST, LARGEST).to(torch.float16)
