"""What a classifier's predictions are worth."""

import torch
from torch import Tensor


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
