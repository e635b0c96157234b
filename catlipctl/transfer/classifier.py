"""A tower with another classifier, a classifier alone in a file, and what its predictions are worth."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from catlipctl.checkpoints.writing import save_tensors
from catlipctl.data import read_images
from catlipctl.errors import DataError
from catlipctl.files import replacing
from catlipctl.models import TimmTower, Tower
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


def top_k_accuracy(logits: Tensor, labels: Tensor, k: int) -> float:
    """The share of images whose label is among the `k` largest logits (all of them where K <= k)."""
    best = logits.topk(min(k, logits.shape[1]), dim=1).indices
    return float((best == labels[:, None]).any(1).double().mean())


def mean_per_class_recall(logits: Tensor, labels: Tensor) -> float:
    """Recall of each class that has a test image, averaged over those classes."""
    hits = (logits.argmax(1) == labels).double()
    totals = torch.bincount(labels, minlength=logits.shape[1]).double()
    correct = torch.zeros_like(totals).index_add_(0, labels, hits)
    present = totals > 0
    return float((correct[present] / totals[present]).mean())


def majority_share(labels: Tensor) -> float:
    """The accuracy of always answering the largest class."""
    return float(torch.bincount(labels).max() / len(labels))


def scores(
    tower: Tower, weights: Mapping[str, Tensor], test: Labelled, *, workers: int = 0
) -> dict[str, Any]:
    """Accuracies on the test images of a tower with these weights, on their device. DataError without any."""
    module = copy.deepcopy(tower.module)
    module.load_state_dict(weights)
    device = next(module.parameters()).device
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
    predicted, truth = torch.cat(logits), test.labels[torch.cat(samples)]
    return {
        "acc1": top_k_accuracy(predicted, truth, 1),
        "acc5": top_k_accuracy(predicted, truth, 5),
        "mean_per_class_recall": mean_per_class_recall(predicted, truth),
        "majority_share": majority_share(truth),
        "test_images": len(truth),
        "unreadable": reader.unreadable,
    }
