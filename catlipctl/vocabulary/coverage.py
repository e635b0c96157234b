"""What a pruning threshold costs of a target label set: precision and recall of label coverage."""

from bisect import bisect_left
from itertools import count

from pydantic import BaseModel

from catlipctl.labels.targets import LabelSet
from catlipctl.vocabulary.vocabulary import Vocabulary


class Coverage(BaseModel):
    """A vocabulary pruned at `threshold`, against a target label set.

    size: its synsets, those counted more often than the threshold. covered: classes of the target whose
    synsets are all among them. recall: covered / classes of the target. precision: the share of `size` that
    are synsets of the target, 0 where nothing is left.
    """

    threshold: int
    size: int
    covered: int
    recall: float
    precision: float


def coverage(vocabulary: Vocabulary, target: LabelSet) -> list[Coverage]:
    """Precision and recall at thresholds 1, 2, 5, 10, 20, ..., from the lowest of which the vocabulary has
    all synsets to the last that leaves any.
    """
    found = dict(zip(vocabulary.keys, vocabulary.counts, strict=True))
    wanted = {key for label in target.labels for key in label.synsets}
    # A class goes when its rarest synset does.
    rarest = [
        min(found.get(key, 0) for key in label.synsets) if label.synsets else 0 for label in target.labels
    ]
    classes = sorted(rarest)
    theirs = sorted(found.get(key, 0) for key in wanted)
    rows = []
    for threshold in thresholds(vocabulary):
        size = vocabulary.size_at(threshold)
        covered = len(classes) - bisect_left(classes, threshold + 1)
        hits = len(theirs) - bisect_left(theirs, threshold + 1)
        rows.append(
            Coverage(
                threshold=threshold,
                size=size,
                covered=covered,
                recall=covered / max(len(target), 1),
                precision=hits / max(size, 1),
            )
        )
    return rows


def thresholds(vocabulary: Vocabulary) -> list[int]:
    """The vocabulary's least threshold, then 1, 2, 5, 10, ... as far as they leave a synset."""
    least, found = vocabulary.least_threshold, [vocabulary.least_threshold]
    for threshold in (digit * 10**power for power in count() for digit in (1, 2, 5)):
        if threshold >= vocabulary.counts[0]:
            return found
        if threshold > least:
            found.append(threshold)
    raise AssertionError("counts are finite")
