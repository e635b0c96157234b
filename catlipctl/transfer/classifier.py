"""A tower with another classifier, and a classifier alone in a file."""

import copy
from pathlib import Path

import torch
from torch import Tensor

from catlipctl.checkpoints.writing import save_tensors
from catlipctl.files import replacing
from catlipctl.models import TimmTower, Tower


def with_head(tower: Tower, weight: Tensor, bias: Tensor) -> Tower:
    """A copy of `tower` in eval mode with the linear classifier `weight [K, D]`, `bias [K]`.

    Raises UsageError for a tower that has another kind of head.
    """
    module = copy.deepcopy(tower.module).eval()
    module.reset_classifier(len(weight))  # type: ignore[operator]
    changed = TimmTower(module)
    head = changed.linear_head()
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    return changed


def freeze(tower: Tower) -> None:
    """Have nothing but the linear classifier learn. UsageError for a tower that has another kind of head."""
    head = tower.linear_head()
    tower.module.requires_grad_(False)
    head.requires_grad_(True)


def save_head(path: Path, weight: Tensor, bias: Tensor) -> None:
    """Write `weight [K, D]` and `bias [K]` alone, as safetensors."""
    with replacing(path) as temporary:
        save_tensors({"weight": weight.contiguous(), "bias": bias.contiguous()}, temporary)


def log_odds(targets: Tensor) -> Tensor:
    """`[K]`: biases by which fresh sigmoids say how frequent each class is; at 0 all would say a half.

    targets: `[N, K]`, bool. Half an image with and half without a class are added, so that none is infinite.
    """
    images = targets.sum(0)
    return ((images + 0.5) / (len(targets) - images + 0.5)).log()
