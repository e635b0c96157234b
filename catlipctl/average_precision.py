"""Average precision: how well each class's images are ranked before the others.

    AP = sum over thresholds t of (recall(t) - recall(before t)) * precision(t)

No line is drawn between the thresholds, and images with equal scores are one threshold: scikit-learn's
`average_precision_score`, which CatLIP's multi-label figures are.
"""

import torch
from torch import Tensor

CELLS_AT_ONCE = 1 << 22
"""Pairs of image and class that are worked on at once, in one weighting of the images or in several."""


def average_precision(scores: Tensor, positive: Tensor, weights: Tensor | None = None) -> Tensor:
    """`[R, C]`, float64, NaN where no image is positive: scores `[N, C]`, positive `[N, C]`, bool.

    weights: `[R, N]`, how often each image counts in each of R weightings. None: once, and the answer is
    `[C]`.
    """
    if weights is None:
        once = scores.new_ones(1, len(scores), dtype=torch.float64)
        return average_precision(scores, positive, once)[0]
    together = max(1, CELLS_AT_ONCE // max(1, weights.numel()))
    of_classes = [
        _ranked(scores[:, some], positive[:, some], weights.double())
        for some in (slice(start, start + together) for start in range(0, scores.shape[1], together))
    ]
    return torch.cat(of_classes, 1)


def _ranked(scores: Tensor, positive: Tensor, weights: Tensor) -> Tensor:
    """The same of so few classes that their scores are sorted at once."""
    falling, order = scores.T.contiguous().sort(dim=1, descending=True)
    hits = positive.T.gather(1, order)
    # The last image that scores as much: equal scores count together.
    last = torch.searchsorted(-falling, -falling, right=True) - 1
    parts = weights.split(max(1, CELLS_AT_ONCE // max(1, scores.numel())))
    return torch.cat([_weighted(part[:, order], hits, last) for part in parts])


def _weighted(weights: Tensor, hits: Tensor, last: Tensor) -> Tensor:
    """weights: `[R, C, N]`, of each class the image that scores highest first. hits, last: `[C, N]`."""
    own = (weights * hits).flatten(1)
    # Precision is asked for at positive images alone, which are few.
    at = hits.flatten().nonzero()[:, 0]
    ends = (last + torch.arange(len(hits), device=last.device)[:, None] * hits.shape[1]).flatten()[at]
    seen, right = (of.view_as(weights).cumsum(2).flatten(1)[:, ends] for of in (weights, own))
    # An image that a weighting lacks, before all that it has, is 0 of 0; it counts 0 times.
    gained = torch.zeros_like(own)
    gained[:, at] = own[:, at] * right / seen.clamp_min(1e-300)
    return gained.view_as(weights).sum(2) / own.view_as(weights).sum(2)
