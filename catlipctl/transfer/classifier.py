"""A tower by its name, a tower with another classifier, and a classifier alone in a file."""

import copy
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from catlipctl import models
from catlipctl.checkpoints import Checkpoint
from catlipctl.files import replacing


def architecture(checkpoint: Checkpoint) -> str:
    """The tower's name as timm has it."""
    return str(checkpoint.model.pretrained_cfg["architecture"])  # type: ignore[index]


def with_head(model: nn.Module, weight: Tensor, bias: Tensor) -> nn.Module:
    """A copy of `model` in eval mode with the linear classifier `weight [K, D]`, `bias [K]`."""
    copied = copy.deepcopy(model)
    copied.reset_classifier(len(weight))  # type: ignore[operator]
    head = models.head(copied)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    return copied.eval()


def save_head(path: Path, weight: Tensor, bias: Tensor) -> None:
    """Write `weight [K, D]` and `bias [K]` alone, as safetensors."""
    with replacing(path) as temporary:
        save_file({"weight": weight.contiguous(), "bias": bias.contiguous()}, temporary)
