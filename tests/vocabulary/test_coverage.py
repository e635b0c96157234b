"""Precision and recall across thresholds, against sets."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catlipctl.labels.targets import Label, LabelSet
from catlipctl.labels.wordnet import nouns
from catlipctl.vocabulary import Vocabulary
from catlipctl.vocabulary.coverage import coverage, thresholds

KEYS = nouns().keys[:12]


def vocabulary(counts: list[int], threshold: int = 0) -> Vocabulary:
    counts = sorted(counts, reverse=True)
    return Vocabulary(
        tuple(KEYS[: len(counts)]), tuple(counts), "corenet", "1", "made", 9, 0, "occurrences", threshold
    )


classes = st.lists(st.lists(st.sampled_from(KEYS), max_size=3, unique=True), min_size=1, max_size=6)


@given(st.lists(st.integers(3, 300), min_size=1, max_size=8), classes)
def test_recall_and_precision_are_those_of_the_sets(counts: list[int], synsets: list[list[str]]) -> None:
    made = vocabulary(counts, threshold=2)
    target = LabelSet("mine", tuple(Label(f"class {i}", tuple(keys)) for i, keys in enumerate(synsets)))
    rows = coverage(made, target)
    assert [row.threshold for row in rows] == thresholds(made)
    for row in rows:
        left = {key for key, count in zip(made.keys, made.counts, strict=True) if count > row.threshold}
        covered = [keys for keys in synsets if keys and set(keys) <= left]
        theirs = left & {key for keys in synsets for key in keys}
        assert (row.size, row.covered) == (len(left), len(covered))
        assert row.recall == len(covered) / len(synsets)
        assert row.precision == pytest.approx(len(theirs) / len(left))


def test_thresholds_begin_where_the_vocabulary_can_speak() -> None:
    assert thresholds(vocabulary([70, 30, 4], threshold=3)) == [3, 5, 10, 20, 50]
    assert thresholds(vocabulary([3, 1])) == [0, 1, 2]
    # The most frequent two: the third may have counted 30 as well.
    assert thresholds(replace(vocabulary([70, 30]), max_size=2)) == [30, 50]
    assert thresholds(replace(vocabulary([5, 5]), max_size=2)) == [5]
    assert (
        coverage(replace(vocabulary([5, 5]), max_size=2), LabelSet("one", (Label("a", ()),)))[0].precision
        == 0
    )
