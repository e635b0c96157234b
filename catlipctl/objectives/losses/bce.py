"""Binary cross-entropy, as CatLIP has it and as torch's soft margin loss divides it.

Released as the sum over classes by the number of images, it starts at V ln 2 an image (CatLIP 3.1).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from catlipctl.objectives.losses.pairs import Pairs
from catlipctl.objectives.losses.separable import separable


def bce(logits: Tensor, pairs: Pairs) -> Tensor:
    """Binary cross-entropy of `logits [B, V]` summed over classes, mean over images: 0-D, float32 or float64.

    Equals `binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="sum") / B`.
    """
    return separable(logits, pairs, _Bce)


def soft_margin(logits: Tensor, pairs: Pairs) -> Tensor:
    """`bce` over V: torch's `multilabel_soft_margin_loss`.

    AdamW learns the same by it as by `bce`: it sees the scale only through `eps`, clipping and other losses.
    """
    return bce(logits, pairs) / logits.shape[1]


class _Bce:
    """-log(1 - p) and -log p, p the logit's sigmoid."""

    @staticmethod
    def negative(logits: Tensor) -> Tensor:
        # The default threshold, 20, leaves out exp(-20): more than float64 rounds off.
        return F.softplus(logits, threshold=40)

    @staticmethod
    def negative_slope(logits: Tensor) -> Tensor:
        return torch.sigmoid(logits)

    @staticmethod
    def positive(logits: Tensor) -> Tensor:
        return F.softplus(-logits, threshold=40)

    @staticmethod
    def positive_slope(logits: Tensor) -> Tensor:
        return torch.sigmoid(-logits).neg_()
