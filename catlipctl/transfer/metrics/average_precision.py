"""Average precision: how well each class's images are ranked before the others, and its three means.

    AP = sum over thresholds t of (recall(t) - recall(before t)) * precision(t)

No line is drawn between the thresholds, and images with equal scores are one threshold: scikit-learn's
`average_precision_score`, which CatLIP's multi-label figures are. A class without a positive image has none.
scikit-learn counts it as 0; here it is left out of the macro mean, and reports say how many are.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from catlipctl.transfer.metrics.intervals import CELLS_AT_ONCE, Interval

RESAMPLES = 500
"""Of the bootstrap, each of which ranks all images again."""


class MeanAveragePrecision(NamedTuple):
    """The means of several weightings of the images, `[R]` each, in 0..1.

    macro: over the classes with a positive image. micro: of all pairs of image and class as one ranking.
    weighted: over the classes, by their positive images. per_class: `[R, K]`, NaN where there is none.
    """

    macro: Tensor
    micro: Tensor
    weighted: Tensor
    per_class: Tensor


def average_precision(scores: Tensor, positive: Tensor, weights: Tensor) -> Tensor:
    """`[R]`, float64, of one class: scores `[N]`, positive `[N]` bool.

    weights: `[R, N]`, how often each image counts. NaN where no image is positive.
    """
    order = scores.argsort(descending=True, stable=True)
    _, group, sizes = torch.unique_consecutive(scores[order], return_inverse=True, return_counts=True)
    of_positives = positive[order].nonzero()[:, 0]
    ends = (sizes.cumsum(0) - 1)[group][of_positives]
    found = [_of_some(part[:, order], of_positives, ends) for part in _parts(weights)]
    return torch.cat(found)


def _of_some(weights: Tensor, of_positives: Tensor, ends: Tensor) -> Tensor:
    """weights: `[R, N]`, the highest score first. ends: where the images of each positive's score end."""
    seen = weights.cumsum(1)[:, ends]
    own = weights[:, of_positives]
    hits = torch.zeros_like(weights).index_copy_(1, of_positives, own).cumsum(1)[:, ends]
    # An image that a resample lacks, before all that it has, is 0 of 0; it counts 0 times.
    return (own * hits / seen.clamp_min(1e-300)).sum(1) / own.sum(1)


def mean_average_precision(
    scores: Tensor, targets: Tensor, weights: Tensor | None = None
) -> MeanAveragePrecision:
    """scores: `[N, K]`. targets: `[N, K]`, bool. weights: `[R, N]`, how often an image counts; None: once."""
    if weights is None:
        weights = torch.ones(1, len(scores))
    weights, classes = weights.double(), scores.shape[1]
    per_class = torch.stack(
        [average_precision(scores[:, c], targets[:, c], weights) for c in range(classes)], 1
    )
    positives = weights @ targets.double()
    weighted = (per_class.nan_to_num() * positives).sum(1) / positives.sum(1)
    micro = torch.cat(
        [
            average_precision(scores.flatten(), targets.flatten(), part.repeat_interleave(classes, 1))
            for part in _parts(weights, classes)
        ]
    )
    return MeanAveragePrecision(per_class.nanmean(1), micro, weighted, per_class)


def mean_average_precision_intervals(scores: Tensor, targets: Tensor, seed: int) -> dict[str, Interval]:
    """95 % intervals of macro, micro and weighted by the bootstrap over the images, less its bias.

    In a resample a class whose positive images are not drawn is left out of its macro mean. One that is drawn
    twice stands twice at its rank, so resamples score higher than the images do (by 3 points of 20 where most
    classes have few): the percentiles are moved by as much as the resamples' mean is above the figure.
    """
    images = len(scores)
    drawn = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), RESAMPLES)
    found = mean_average_precision(scores, targets, torch.from_numpy(drawn))
    whole = mean_average_precision(scores, targets)
    ends = {}
    for name in ("macro", "micro", "weighted"):
        values = getattr(found, name).numpy()
        moved = values - np.nanmean(values) + float(getattr(whole, name))
        low, high = np.nanpercentile(moved, (2.5, 97.5)).clip(0, 1)
        ends[name] = (float(low), float(high))
    return ends


def _parts(weights: Tensor, times: int = 1) -> tuple[Tensor, ...]:
    """Rows of the weights, so many that no array made of them is large."""
    return weights.split(max(1, CELLS_AT_ONCE // max(1, times * weights.shape[1])))
