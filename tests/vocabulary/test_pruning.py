"""Pruning against counting again with the higher threshold."""

from collections.abc import Callable

import pytest

from catlipctl import vocabulary
from catlipctl.data.sample import Source
from catlipctl.errors import DataError, UsageError
from catlipctl.vocabulary import Vocabulary, prune


@pytest.fixture(scope="module")
def whole(pairs: Source) -> Vocabulary:
    return vocabulary.build(pairs, threshold=0)


@pytest.mark.parametrize("cut", [{"threshold": 5}, {"max_size": 300}, {"threshold": 20, "max_size": 150}])
def test_equal_to_a_build_with_the_same_threshold(
    pairs: Source, whole: Vocabulary, cut: dict[str, int]
) -> None:
    straight = vocabulary.build(pairs, **cut)  # type: ignore[arg-type]
    assert prune(whole, **cut) == straight
    assert prune(prune(whole, threshold=3), **cut) == vocabulary.build(
        pairs,
        **{"threshold": 3, **cut},  # type: ignore[arg-type]
    )


def test_from_one_cut_by_its_size(pairs: Source, whole: Vocabulary) -> None:
    cut = prune(whole, max_size=300)
    least = cut.counts[-1]
    assert prune(cut, threshold=least) == vocabulary.build(pairs, threshold=least)
    assert prune(cut, max_size=200) == vocabulary.build(pairs, max_size=200)
    assert prune(cut, max_size=1000) == cut
    with pytest.raises(UsageError, match=f"threshold {least - 1} is below {least}"):
        prune(cut, threshold=least - 1)


def test_what_is_gone_does_not_come_back(whole: Vocabulary) -> None:
    with pytest.raises(UsageError, match="threshold 4 is below 5"):
        prune(prune(whole, threshold=5), threshold=4)


def test_nothing_dropped_is_no_threshold(source_of: Callable[..., Source], whole: Vocabulary) -> None:
    names = [name for name in whole.descriptions() if name.isalpha() and name.islower()]
    source = source_of([(f"{name} {name} {name}",) for name in names])
    assert prune(vocabulary.build(source, threshold=2), threshold=0) == vocabulary.build(source, threshold=0)


def test_what_makes_no_vocabulary(whole: Vocabulary) -> None:
    enough = whole.counts[99] - 1
    with pytest.raises(DataError, match="fewer than 100") as refused:
        prune(whole, threshold=10**6)
    assert refused.value.hint == f"take a lower one: --threshold {enough}"
    assert len(prune(whole, threshold=enough)) >= 100
    for nothing in ({}, {"max_size": 99}, {"threshold": -1}):
        with pytest.raises(UsageError):
            prune(whole, **nothing)  # type: ignore[arg-type]


def test_what_is_not_known_stays_so(whole: Vocabulary) -> None:
    from dataclasses import replace

    unknown = replace(whole, dropped_keys=None, dropped_count=None)
    pruned = prune(unknown, threshold=5)
    assert (pruned.dropped_keys, pruned.dropped_count) == (None, None)
