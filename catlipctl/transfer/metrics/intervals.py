"""How sure a figure is: bootstrap over the test images."""

import numpy as np
from torch import Tensor

Interval = tuple[float, float]
"""The ends, low and high, of a 95 % interval."""

RESAMPLES = 2000
CELLS_AT_ONCE = 1 << 22


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
