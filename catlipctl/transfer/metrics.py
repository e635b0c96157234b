"""What a classifier's answers on test images are worth, how sure that is, and the answers one by one."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Interval = tuple[float, float]
"""The ends, low and high, of a 95 % interval."""

RESAMPLES = 2000
CELLS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Answers:
    """logits: `[N, K]`. labels: `[N]`, the true class ids. samples: N names of the test images."""

    logits: Tensor
    labels: Tensor
    samples: Sequence[str]

    def figures(self, seed: int) -> dict[str, Any]:
        """Accuracies in 0..1, each with its interval, whose resamples are drawn by `seed`."""
        first, fifth = (top_k_hits(self.logits, self.labels, k) for k in (1, 5))
        return {
            "acc1": share(first),
            "acc1_interval": interval(first, seed),
            "acc5": share(fifth),
            "acc5_interval": interval(fifth, seed),
            "mean_per_class_recall": mean_per_class_recall(self.logits, self.labels),
            "mean_per_class_recall_interval": interval(first, seed, self.labels),
            "majority_share": majority_share(self.labels),
            "test_images": len(self.labels),
        }

    def table(self, classes: Sequence[str]) -> str:
        """As CSV: sample, truth, predicted and probability (softmax) of what is predicted; labels by name."""
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["sample", "truth", "predicted", "probability"])
        best = self.logits.softmax(1).max(1)
        rows = zip(
            self.samples, self.labels.tolist(), best.indices.tolist(), best.values.tolist(), strict=True
        )
        for sample, truth, predicted, probability in rows:
            writer.writerow([sample, classes[truth], classes[predicted], f"{probability:.6g}"])
        return stream.getvalue()


def top_k_hits(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """`[N]`, bool: whether the label is among the `k` largest logits (all of them where K <= k)."""
    best = logits.topk(min(k, logits.shape[1]), dim=1).indices
    return (best == labels[:, None]).any(1)


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


def interval(hits: Tensor, seed: int, labels: Tensor | None = None) -> Interval:
    """A 95 % interval of the share of hits by the percentile bootstrap over the test images.

    labels: `[N]`, and it is that of the mean over classes of each one's share, as far as a resample has the
    class. It covers the choice of test images, not that of training images or of the seed.
    Of a resample it only matters how many images of each class hit and how many do not: these numbers are
    multinomial, so they are drawn themselves.
    """
    groups = (
        np.zeros(len(hits), np.int64) if labels is None else np.unique(labels.numpy(), return_inverse=True)[1]
    )
    cells = np.bincount(2 * groups + hits.numpy(), minlength=2 * (int(groups.max()) + 1))
    generator = np.random.default_rng(seed)
    block = max(1, CELLS_AT_ONCE // len(cells))
    found = []
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        drawn = generator.multinomial(len(hits), cells / len(hits), size).reshape(size, -1, 2)
        totals = drawn.sum(2)
        shares = drawn[:, :, 1] / np.maximum(totals, 1)
        found.append(shares.sum(1) / (totals > 0).sum(1))
    low, high = np.percentile(np.concatenate(found), (2.5, 97.5))
    return float(low), float(high)
