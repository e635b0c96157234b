"""What a model's figure would be on other test images and with other seeds: the paired bootstrap.

Every model draws the same resamples of the images, which it sorts by name, and those that have the same seeds
the same resamples of these. So the differences of two models' resampled figures are those of pairs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from catlipctl.reports.measured import Interval
from catlipctl.reports.predictions import Predictions
from catlipctl.reports.scores import Scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELLS_AT_ONCE = 1 << 24


class Answered(Protocol):
    """What one evaluation says of its test images, whose names are sorted.

    resamples: so many are drawn. biased: their mean is not the figure, so they are moved to it.
    """

    resamples: ClassVar[int]
    biased: ClassVar[bool]

    @property
    def images(self) -> Sequence[str]: ...

    def figures(self, times: "NDArray[np.int64]") -> "NDArray[np.float64]":
        """`[R]`, the figure where the images count so many times, `[R, N]`."""
        ...


class Hits:
    """Of classes that exclude each other: the share of images that are recognised."""

    resamples: ClassVar = 2000
    biased: ClassVar = False

    def __init__(self, predictions: Predictions) -> None:
        hits = {row.sample: row.truth == row.predicted for row in predictions.rows}
        self.images = sorted(hits)
        self._hits = np.array([hits[image] for image in self.images], np.float64)

    def figures(self, times: "NDArray[np.int64]") -> "NDArray[np.float64]":
        return times @ self._hits / len(self._hits)


class Ranked:
    """Of images with several labels: the mean of average precision over the classes that a resample has.

    Resamples rank higher than the images do: `transfer.metrics.mean_average_precision` says why.
    """

    resamples: ClassVar = 500
    biased: ClassVar = True

    def __init__(self, scores: Scores) -> None:
        order = np.argsort(np.array(scores.images))
        self.images = [scores.images[place] for place in order]
        self._scores, self._labels = scores.scores[order].astype(np.float32), scores.labels[order]

    def figures(self, times: "NDArray[np.int64]") -> "NDArray[np.float64]":
        import torch

        from catlipctl.average_precision import average_precision

        scores, labels = torch.from_numpy(self._scores), torch.from_numpy(self._labels)
        return average_precision(scores, labels, torch.from_numpy(times)).nanmean(1).numpy()


@dataclass(frozen=True)
class Model:
    """One model's evaluations, by seed. figures: as the results say. draw: decides the resamples."""

    answered: Mapping[int, Answered]
    figures: Mapping[int, float]
    draw: int

    @property
    def complete(self) -> bool:
        """Whether every seed has its answers, of the same images."""
        images = [one.images for one in self.answered.values()]
        return len(images) == len(self.figures) and all(names == images[0] for names in images)

    @property
    def images(self) -> Sequence[str]:
        """Of a complete one: the names of the test images."""
        return next(iter(self.answered.values())).images

    @cached_property
    def resampled(self) -> "NDArray[np.float64]":
        """`[R]`, of a complete one: the mean over resampled seeds of the figures of resampled images."""
        seeds = sorted(self.answered)
        each = [self.answered[seed] for seed in seeds]
        drawn = np.concatenate([np.stack([one.figures(times) for one in each], 1) for times in self._times()])
        if each[0].biased:
            once = np.ones((1, len(self.images)), np.int64)
            drawn += np.concatenate([one.figures(once) for one in each]) - np.nanmean(drawn, 0)
        picked = np.random.default_rng([self.draw, 1, *seeds]).integers(len(seeds), size=drawn.shape)
        return np.take_along_axis(drawn, picked, 1).mean(1)

    def _times(self) -> "Iterator[NDArray[np.int64]]":
        """How often each image counts, `[r, N]`, r resamples at a time."""
        images, resamples = len(self.images), next(iter(self.answered.values())).resamples
        generator = np.random.default_rng(self.draw)
        block = max(1, CELLS_AT_ONCE // images)
        for start in range(0, resamples, block):
            size = min(block, resamples - start)
            yield generator.multinomial(images, np.full(images, 1 / images), size)


def percentiles(values: "NDArray[np.float64]") -> Interval:
    """The 95 % interval of resampled figures."""
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)
