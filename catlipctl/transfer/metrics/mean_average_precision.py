"""The three means of average precision over the classes of images that have several labels each.

A class without a positive image has no average precision. scikit-learn counts it as 0; here it is left out of
the macro mean, and reports say how many are.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from catlipctl.average_precision import CELLS_AT_ONCE, average_precision
from catlipctl.transfer.metrics.intervals import Interval

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


def mean_average_precision(
    scores: Tensor, targets: Tensor, weights: Tensor | None = None
) -> MeanAveragePrecision:
    """scores: `[N, K]`. targets: `[N, K]`, bool. weights: `[R, N]`, how often an image counts; None: once."""
    if weights is None:
        weights = torch.ones(1, len(scores))
    weights, classes = weights.double(), scores.shape[1]
    per_class = average_precision(scores, targets, weights)
    positives = weights @ targets.double()
    weighted = (per_class.nan_to_num() * positives).sum(1) / positives.sum(1)
    pairs, of_pairs = scores.reshape(-1, 1), targets.reshape(-1, 1)
    parts = weights.split(max(1, CELLS_AT_ONCE // max(1, len(pairs))))
    micro = [average_precision(pairs, of_pairs, part.repeat_interleave(classes, 1)) for part in parts]
    return MeanAveragePrecision(per_class.nanmean(1), torch.cat(micro)[:, 0], weighted, per_class)


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
