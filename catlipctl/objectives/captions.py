"""One of an image's several captions, as a function of seed and position."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from catlipctl.data.batch import Targets
from catlipctl.data.draws import GOLDEN, MASK, hashed, uniform
from catlipctl.data.sample import Sample
from catlipctl.objectives.objective import Collate

CAPTION_DRAW = 1 << 32
"""Draw of a position that chooses its caption; the first few are the crop's."""


@dataclass(frozen=True)
class OneCaption:
    """What `collate` makes of samples that have one of their captions each.

    weights: how probable the first caption is, the second, ..., to one another; one without a weight is never
    taken where another has some. Empty: all alike.
    """

    collate: Collate
    seed: int
    weights: tuple[float, ...] = ()

    def __call__(self, samples: Sequence[Sample], positions: NDArray[np.int64]) -> Targets:
        pairs = zip(samples, positions, strict=True)
        chosen = [one._replace(captions=self.chosen(one.captions, int(position))) for one, position in pairs]
        return self.collate(chosen, positions)

    def chosen(self, captions: tuple[str, ...], position: int) -> tuple[str, ...]:
        """The one that is taken there; none of none."""
        if len(captions) < 2:
            return captions
        drawn = uniform(hashed((hashed(self.seed & MASK) + position * GOLDEN) & MASK), CAPTION_DRAW)
        weights = self.weights[: len(captions)]
        if not any(weights):
            return (captions[int(drawn * len(captions))],)
        ends = list(accumulate(weights))
        return (captions[min(bisect_right(ends, drawn * ends[-1]), len(ends) - 1)],)
