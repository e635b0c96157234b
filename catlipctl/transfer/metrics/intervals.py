"""How sure a figure is: bootstrap over the test images; Student's t over seeds."""

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

Interval = tuple[float, float]
"""The ends, low and high, of a 95 % interval."""

RESAMPLES = 2000
CELLS_AT_ONCE = 1 << 22
STUDENT = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622)
"""The 97.5 % quantile of Student's t, by degrees of freedom from 1; beyond, an expansion in their inverse."""


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


def mean_interval(values: Sequence[float]) -> Interval | None:
    """A 95 % interval of the mean of independent draws, such as seeds, by Student's t; None of one draw."""
    freedom = len(values) - 1
    if freedom < 1:
        return None
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / freedom / len(values))
    # 1.95996 is the normal quantile z; (z^3 + z) / 4 and so on, as Abramowitz and Stegun 26.7.5 has it.
    far = (
        STUDENT[freedom - 1]
        if freedom <= len(STUDENT)
        else 1.95996 + 2.3723 / freedom + 2.8225 / freedom**2 + 2.5558 / freedom**3
    )
    return mean - far * spread, mean + far * spread
