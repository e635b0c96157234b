"""How many answers are right: top-k accuracy, recall by class, and the share that needs no answer at all."""

import torch
from torch import Tensor


def restricted(logits: Tensor, classes: Tensor | None) -> Tensor:
    """Logits `[N, K]` of which no class but these ids `[C]` can be answered; None: all can."""
    if classes is None:
        return logits
    masked = torch.full_like(logits, -torch.inf)
    masked[:, classes] = logits[:, classes]
    return masked


def top_k_hits(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """`[N]`, bool: whether the label is among the `k` largest logits (all of them where K <= k).

    A class at minus infinity is no answer, however few others there are.
    """
    best = logits.topk(min(k, logits.shape[1]), dim=1)
    return ((best.indices == labels[:, None]) & ~best.values.isneginf()).any(1)


def share(hits: Tensor) -> float:
    """The share of images that hit."""
    return float(hits.double().mean())


def mean_per_class_recall(logits: Tensor, labels: Tensor) -> float:
    """Recall of each class that has a test image, averaged over those classes."""
    hits = top_k_hits(logits, labels, 1).double()
    totals = torch.bincount(labels, minlength=logits.shape[1]).double()
    correct = torch.zeros_like(totals).index_add_(0, labels, hits)
    present = totals > 0
    return float((correct[present] / totals[present]).mean())


def majority_share(labels: Tensor) -> float:
    """The accuracy of always answering the largest class."""
    return float(torch.bincount(labels).max() / len(labels))
