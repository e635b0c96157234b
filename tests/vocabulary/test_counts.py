"""Counts of keys: what is counted, sums in any order, and the packed form."""

import gzip
from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catlipctl import labels
from catlipctl.data.sources.faults import Faults
from catlipctl.vocabulary.counts import Counts, count

numbers = st.dictionaries(st.text(max_size=8), st.integers(1, 2**40), max_size=8).map(Counter)


@st.composite
def counts(draw: st.DrawFn) -> Counts:
    found = Faults()
    for kind in draw(st.lists(st.sampled_from(["truncated shard", "empty caption"]), max_size=3)):
        found.add(kind, draw(st.integers(1, 99)), draw(st.sampled_from(["", "a.tar", "b.tar"])))
    return Counts(draw(numbers), draw(numbers), draw(st.integers(0, 2**40)), draw(st.integers(0, 9)), found)


@given(counts(), counts(), counts())
def test_sums_are_the_same_in_any_order(a: Counts, b: Counts, c: Counts) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c) == c + (b + a)
    assert a + Counts() == a
    total = a + b
    assert total.occurrences == a.occurrences + b.occurrences
    assert total.captions == a.captions + b.captions
    assert total.faults["empty caption"] == a.faults["empty caption"] + b.faults["empty caption"]
    assert (a + b).pack() == (b + a).pack()


@given(counts())
def test_packed_and_unpacked(made: Counts) -> None:
    assert Counts.unpack(made.pack()) == made


@given(counts(), st.data())
def test_damage_is_seen(made: Counts, data: st.DataObject) -> None:
    packed = made.pack()
    cut = data.draw(st.integers(0, len(packed) - 1))
    for damaged in (packed[:cut], packed[:cut] + bytes([packed[cut] ^ 0x55]) + packed[cut + 1 :]):
        with suppress(ValueError):
            # A changed byte of gzip's header changes nothing that counts.
            assert Counts.unpack(damaged) == made


NO_COUNTS = (
    *(b"", b"[1]", b"{}", b'{"format": 1}', b'{"format": 1, "examples": []}', b"\x80\x04", b"[" * 9**6),
    b'{"format": 1, "examples": {}, "captions": -1}',
)


@pytest.mark.parametrize("body", NO_COUNTS)
def test_what_are_no_counts(body: bytes) -> None:
    for packed in (body, gzip.compress(body)):
        with pytest.raises(ValueError):  # noqa: PT011
            Counts.unpack(packed)


def test_keys_are_those_of_the_extractor() -> None:
    extract = labels.extractor()
    texts = ["a dog and a dog", "the cat", "of the", "A Dog", "dog cat dog"] * 300
    keys = [extract(text) for text in texts]
    told: list[int] = []
    counted = count(((text,) for text in texts), extract, tick=told.append)
    assert counted.occurrences == Counter(key for row in keys for key in row)
    assert counted.by_caption() == Counter(key for row in keys for key in set(row))
    assert (counted.captions, counted.captions_without_label) == (1500, 300)
    assert sum(told) == 1500
    assert len(told) > 1


def test_empty_captions_and_other_scripts_are_counted_by_kind() -> None:
    texts = ["", "  \n", "一只狗", "собака", "9:30 !", "日本 dog", "Ünïcödé", "ᴅᴏɢ", "犬 2020", "é"]
    counted = count([tuple(texts)], labels.extractor())
    assert dict(counted.faults.counts()) == {"empty caption": 2, "caption in another script": 3}
    assert counted.captions == 8
    assert counted.occurrences == {"n02084071": 1}
