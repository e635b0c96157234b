"""A tower with its head: what every command asks of one, and timm's behind it."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from catlipctl.data.transform import Preprocessing
from catlipctl.errors import UsageError


class Tower(Protocol):
    """An image tower with its head, whoever made it. It takes images as its `preprocessing` leaves them.

    module: what learns; called with images `[B, 3, H, W]` it gives the head's outputs `[B, V]`.
    name: its architecture. num_classes: V.
    """

    @property
    def module(self) -> nn.Module: ...
    @property
    def name(self) -> str: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def preprocessing(self) -> Preprocessing: ...
    @property
    def head(self) -> nn.Module: ...

    def linear_head(self) -> nn.Linear:
        """The head if it is one linear layer, weight `[V, D]`, bias `[V]`; else UsageError."""
        ...

    def features(self, images: Tensor) -> Tensor:
        """What the head is given, `[B, D]`: pooled, normed where the tower does so."""
        ...


@dataclass(frozen=True, eq=False)
class TimmTower:
    """A tower of timm's registry, or of another's that has timm's methods."""

    module: Any

    @property
    def name(self) -> str:
        """What timm calls it."""
        return str(self.module.pretrained_cfg["architecture"])

    @property
    def num_classes(self) -> int:
        """Outputs of the head."""
        return int(self.module.num_classes)

    @property
    def preprocessing(self) -> Preprocessing:
        """How images must be prepared, from the timm data config that it carries."""
        config = resolve_model_data_config(self.module)
        return Preprocessing(
            size=config["input_size"][-1],
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            interpolation=config["interpolation"],
            crop_pct=config["crop_pct"],
        )

    @property
    def head(self) -> nn.Module:
        """The classifier; a list of them where the tower has several."""
        classifier = self.module.get_classifier()
        return classifier if isinstance(classifier, nn.Module) else nn.ModuleList(classifier)

    def linear_head(self) -> nn.Linear:
        """The classifier: weight `[V, D]`, bias `[V]`; UsageError where it is not one linear layer."""
        if not isinstance(self.head, nn.Linear):
            raise UsageError(
                f"{self.name} has no linear classifier (it has {type(self.head).__name__})",
                "choose another tower",
            )
        return self.head

    def features(self, images: Tensor) -> Tensor:
        """What the head is given, `[B, D]`: pooled, normed where the tower does so."""
        return torch.flatten(
            self.module.forward_head(self.module.forward_features(images), pre_logits=True), 1
        )
