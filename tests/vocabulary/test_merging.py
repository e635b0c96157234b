"""Merging against plain Counters, and against counting all at once."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catlipctl import vocabulary
from catlipctl.data.sample import Source
from catlipctl.errors import DataError, UsageError
from catlipctl.progress import Silent
from catlipctl.vocabulary import Vocabulary, merge

counters = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 12), min_size=1).map(Counter)


def vocabulary_of(
    counts: Counter[str], threshold: int = 0, max_size: int | None = None, source: str = "a"
) -> Vocabulary:
    """As a build over captions that give these counts would be, without its least size."""
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    kept = [row for row in rows if row[1] > threshold][:max_size]
    dropped = rows[len(kept) :]
    keys, numbers = tuple(key for key, _ in kept), tuple(number for _, number in kept)
    lost = (len(dropped), sum(number for _, number in dropped))
    captions = counts.total()
    return Vocabulary(
        keys, numbers, "corenet", "1", source, captions, 1, "occurrences", threshold, *lost, max_size
    )


def merged(*vocabularies: Vocabulary, threshold: int | None = None) -> Vocabulary:
    return merge([(each.source, each) for each in vocabularies], threshold=threshold)


@given(st.lists(counters, min_size=1, max_size=4))
def test_whole_ones_are_as_if_counted_together(counts: list[Counter[str]]) -> None:
    parts = [vocabulary_of(each, source=f"s{i}") for i, each in enumerate(counts)]
    total = sum(counts, Counter())
    together = merged(*parts)
    source = " + ".join(f"s{i}" for i in range(len(counts)))
    expected = vocabulary_of(total, source=source)
    assert together == replace(expected, captions_without_label=len(counts))
    assert {merged(*order).to_text() for order in permutations(parts)} == {together.to_text()}
    if len(parts) > 2:
        first, *rest = parts
        assert merged(first, merged(*rest)) == merged(merged(*parts[:-1]), parts[-1]) == together


pruned_counters = st.tuples(counters, st.integers(0, 11), st.none() | st.integers(1, 4)).filter(
    lambda drawn: max(drawn[0].values()) > drawn[1]
)


def holds(found: Vocabulary, total: Counter[str]) -> None:
    """What `merge` promises."""
    for key, count in total.items():
        if count > found.least_threshold + found.undercount:
            assert key in found.index
        if key in found.index:
            assert count - found.undercount <= found.counts[found.index[key]] <= count
    assert min(found.counts) > found.threshold
    assert found.dropped_count == total.total() - sum(found.counts)
    if found.dropped_keys is not None:
        assert found.dropped_keys == len(total) - len(found)


@given(st.lists(pruned_counters, min_size=1, max_size=4), st.data())
def test_of_pruned_ones_it_says_what_may_lack(
    drawn: list[tuple[Counter[str], int, int | None]], data: st.DataObject
) -> None:
    parts = [vocabulary_of(*each) for each in drawn]
    total = sum((counts for counts, *_ in drawn), Counter())
    try:
        together = merged(*parts)
    except DataError:  # all that is left are ties with what a size cut off
        assert any(len(part) == part.max_size for part in parts)
        return
    holds(together, total)
    assert together.least_threshold + together.undercount <= sum(part.least_threshold for part in parts)
    if not any(part.least_threshold for part in parts):
        assert (together.undercount, together.threshold) == (0, 0)
        assert dict(zip(together.keys, together.counts, strict=True)) == total
    split = data.draw(st.integers(1, len(parts)))
    if split < len(parts):
        try:
            twice = merged(merged(*parts[:split]), merged(*parts[split:]))
        except DataError:
            return
        holds(twice, total)


def test_two_pruned_at_500() -> None:
    one, other = Counter(a=900, b=501, c=7), Counter(a=600, b=500, d=3)
    apart = merged(vocabulary_of(one, 500), vocabulary_of(other, 500))
    assert dict(zip(apart.keys, apart.counts, strict=True)) == {"a": 1500, "b": 501}
    assert (apart.threshold, apart.undercount) == (500, 500)
    assert (apart.dropped_keys, apart.dropped_count) == (None, 510)
    other["b"] = 501
    alike = merged(vocabulary_of(one, 500), vocabulary_of(other, 500))
    # The counts are exact, but a key that both lack may have been counted 1,000 times.
    assert dict(zip(alike.keys, alike.counts, strict=True)) == {"a": 1500, "b": 1002}
    assert (alike.threshold, alike.undercount) == (1000, 0)
    assert (alike.dropped_keys, alike.dropped_count) == (None, 10)


class Heard(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def warnings(*parts: tuple[str, Vocabulary]) -> list[str]:
    heard = Heard()
    merge(parts, progress=heard)
    return heard.warnings


def test_it_warns_of_pruned_ones_and_of_the_same_source() -> None:
    counts = Counter(a=9, b=6, c=2)
    whole, pruned = vocabulary_of(counts, source="here"), vocabulary_of(counts, 5, source="there")
    assert warnings(("x", whole), ("y", vocabulary_of(counts, source="there"))) == []
    (low,) = warnings(("x", whole), ("y", pruned))
    assert "y lacks rare labels: counts may be low by up to 5, and labels that count up to 5 in all" in low
    assert "--threshold 0" in low
    (twice,) = warnings(("x", whole), ("y", merged(whole, vocabulary_of(counts, source="there"))))
    assert twice == "x and y both counted here: the same captions count twice"


@pytest.mark.parametrize(
    "other", [{"extractor": "nouns"}, {"extractor_version": "0"}, {"counted": "captions"}]
)
def test_unlike_ones_are_refused_and_named(other: dict[str, str]) -> None:
    whole = vocabulary_of(Counter(a=1))
    with pytest.raises(DataError, match=r"x\.json and z\.json cannot be added") as refused:
        merge([("x.json", whole), ("y.json", whole), ("z.json", replace(whole, **other))])  # type: ignore[arg-type]
    assert next(iter(other.values())) in refused.value.message


def test_what_is_not_known_of_one_is_not_known_of_all() -> None:
    whole = vocabulary_of(Counter(a=3))
    imported = replace(whole, captions=None, dropped_keys=None, dropped_count=None, max_size=1)
    together = merge([("x", whole), ("y", imported)])
    assert (together.captions, together.dropped_keys, together.dropped_count) == (None, None, None)
    assert together.captions_without_label == 2
    faulty = replace(whole, faults={"b": 1, "a": 1})
    again = replace(whole, faults={"c": 2, "b": 1})
    assert list(merged(faulty, again).faults.items()) == [("a", 1), ("b", 2), ("c", 2)]


def test_of_real_pairs_equal_to_one_build(pairs: Source, source_of: Callable[..., Source]) -> None:
    texts = list(pairs.captions())

    def parts(threshold: int) -> Sequence[tuple[str, Vocabulary]]:
        sources = [source_of(texts[i::3], name=f"part {i}") for i in range(3)]
        return [(source.name, vocabulary.build(source, threshold=threshold)) for source in sources]

    all_at_once = replace(vocabulary.build(pairs, threshold=5), source="part 0 + part 1 + part 2")
    assert merge(parts(0), threshold=5) == all_at_once
    low = merge(parts(2), threshold=5)
    true = dict(zip(all_at_once.keys, all_at_once.counts, strict=True))
    assert low.undercount == 4
    assert set(low.keys) < set(true)
    assert {key for key, count in true.items() if count > 5 + 4} <= set(low.keys)
    with pytest.raises(UsageError, match="threshold 1 is below 2"):
        merge(parts(2), threshold=1)
