"""A tower with another classifier, a classifier alone in a file, and its answers on test images."""

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from catlipctl.checkpoints.writing import save_tensors
from catlipctl.data import read_images
from catlipctl.errors import DataError
from catlipctl.files import replacing
from catlipctl.models import TimmTower, Tower
from catlipctl.transfer.metrics import Answers
from catlipctl.transfer.splits import Labelled

BATCH = 256


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


def save_head(path: Path, weight: Tensor, bias: Tensor) -> None:
    """Write `weight [K, D]` and `bias [K]` alone, as safetensors."""
    with replacing(path) as temporary:
        save_tensors({"weight": weight.contiguous(), "bias": bias.contiguous()}, temporary)


def answers(
    tower: Tower, weights: Mapping[str, Tensor], test: Labelled, device: torch.device, *, workers: int = 0
) -> tuple[Answers, int]:
    """What a tower with these weights says of the test images; how many are unreadable.

    Raises DataError where none can be read.
    """
    module = copy.deepcopy(tower.module)
    module.load_state_dict(weights)
    module.to(device)
    reader = read_images(
        test.source, tower.preprocessing, test.indices.tolist(), batch=BATCH, workers=workers
    )
    logits, samples = [], []
    with torch.inference_mode():
        module.eval()
        for images, read in reader:
            logits.append(module(tower.preprocessing.prepared(images.to(device))).float().cpu())
            samples.append(read)
    if not samples:
        raise DataError(
            f"none of the test images of {test.source.name} can be read", "check that they are images"
        )
    return Answers(torch.cat(logits), test.labels[torch.cat(samples)], reader.keys), reader.unreadable
