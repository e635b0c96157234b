"""Which classes are taken for which."""

from collections.abc import Sequence

import torch
from pydantic import BaseModel
from torch import Tensor

TOLD = 10
"""Pairs that a result tells; `predictions.csv` has all."""


class ConfusedPair(BaseModel):
    """How many test images of the class `truth` were taken for another; of: images of that class."""

    truth: str
    taken_for: str
    images: int
    of: int


def confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """`[K, K]`, int64, sparse: how many images of a class (row) were given each class (column).

    logits: `[N, K]`. labels: `[N]`. Of 21,000 classes the whole would take gigabytes.
    """
    cells = torch.stack([labels, logits.argmax(1)])
    shape = (logits.shape[1], logits.shape[1])
    return torch.sparse_coo_tensor(cells, torch.ones_like(labels), shape, check_invariants=True).coalesce()


def most_confused(matrix: Tensor, classes: Sequence[str], most: int = TOLD) -> list[ConfusedPair]:
    """The cells off the diagonal with the most images, in descending order; of equals the first rows'.

    matrix: `[K, K]`, sparse, as `confusion` gives it.
    """
    (truth, taken_for), counts = matrix.indices(), matrix.values()
    totals = torch.zeros(len(matrix), dtype=torch.int64).index_add_(0, truth, counts).tolist()
    wrong = truth != taken_for
    truth, taken_for, counts = truth[wrong], taken_for[wrong], counts[wrong]
    order = counts.argsort(descending=True, stable=True)[:most]
    rows = zip(truth[order].tolist(), taken_for[order].tolist(), counts[order].tolist(), strict=True)
    return [
        ConfusedPair(truth=classes[row], taken_for=classes[column], images=count, of=totals[row])
        for row, column, count in rows
    ]
