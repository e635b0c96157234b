"""Losses over classes of which each image has a few (SuperClass Table 6), all told them as `Pairs`."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from catlipctl.objectives.losses.asymmetric import asymmetric
from catlipctl.objectives.losses.bce import bce, soft_margin
from catlipctl.objectives.losses.pairs import Pairs
from catlipctl.objectives.losses.softmax import softmax
from catlipctl.objectives.losses.two_way import two_way
from catlipctl.settings.losses import LabelSettings

Loss = Callable[[Tensor, Pairs], Tensor]
"""Of logits `[B, V]` and the labels a scalar, in float32 or float64, whatever autocast says."""

EXCLUSIVE = frozenset({"softmax"})
"""Losses in which an image's probabilities of all classes sum to 1."""


def label_loss(settings: LabelSettings) -> Loss:
    """The loss that the settings name."""
    losses: dict[str, Loss] = {
        "bce": bce,
        "softmax": softmax,
        "asymmetric": partial(asymmetric, settings=settings.asymmetric),
        "two_way": partial(two_way, settings=settings.two_way),
        "soft_margin": soft_margin,
    }
    return losses[settings.loss]


__all__ = [
    "EXCLUSIVE",
    "Loss",
    "Pairs",
    "asymmetric",
    "bce",
    "label_loss",
    "soft_margin",
    "softmax",
    "two_way",
]
