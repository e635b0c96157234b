"""How often each class of a vocabulary is true of a caption, as what a classifier's bias starts at."""

import numpy as np
from numpy.typing import NDArray

from catlipctl.errors import UsageError
from catlipctl.vocabulary.vocabulary import Vocabulary


def log_odds(vocabulary: Vocabulary) -> NDArray[np.float64]:
    """The logarithm of how much likelier each class is to be false of a caption than true, negated: `[V]`.

    `log((n + 1/2) / (N - n + 1/2))`, of a class counted n times over N captions: the empirical logit (Haldane
    1956), finite for n = 0 and n = N. Where occurrences were counted, n is at most N. A classifier whose
    outputs start there gives each class its probability (Lin et al. 2017, 3.3, class by class). UsageError
    where the vocabulary does not say how many captions it was counted over.
    """
    if vocabulary.captions is None:
        raise UsageError(
            "model.head_bias=log-odds: the vocabulary does not say over how many captions it was counted",
            "give a number, -log(V / labels an image), or count a vocabulary: catlipctl vocab build",
        )
    counts = np.minimum(np.array(vocabulary.counts, np.float64), vocabulary.captions)
    return np.log((counts + 0.5) / (vocabulary.captions - counts + 0.5))


def log_frequencies(vocabulary: Vocabulary) -> NDArray[np.float64]:
    """The logarithm of each class's share of all labels: `[V]`; of a count n, (n + 1/2) over the sum of all.

    What the outputs of a softmax start at, to give each class its share.
    """
    counts = np.array(vocabulary.counts, np.float64) + 0.5
    return np.log(counts / counts.sum())


HEAD_BIASES = {"log-odds": log_odds, "log-frequency": log_frequencies}
"""By the names that `model.head_bias` has for them."""
