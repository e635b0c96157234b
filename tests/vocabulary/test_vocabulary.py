"""Counting, encoding, and the file format."""

import json
import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catlipctl import labels, vocabulary
from catlipctl.data.sample import Sample, Source
from catlipctl.errors import DataError, UsageError
from catlipctl.labels import wordnet
from catlipctl.vocabulary import Encoder, Vocabulary
from catlipctl.vocabulary.summary import summary


@pytest.fixture(scope="module")
def counted(pairs: Source) -> Vocabulary:
    return vocabulary.build(pairs, threshold=5)


def test_the_real_pairs_counted(pairs: Source, counted: Vocabulary) -> None:
    extract = labels.extractor()
    keys = Counter(key for (text,) in pairs.captions() for key in extract(text))
    by_hand = sorted(((key, n) for key, n in keys.items() if n > 5), key=lambda row: (-row[1], row[0]))
    assert list(zip(counted.keys, counted.counts, strict=True)) == by_hand
    assert counted.captions == len(pairs) == 12_256
    assert counted.captions_without_label == sum(not extract(text) for (text,) in pairs.captions())
    assert sum(counted.counts) + counted.dropped_count == keys.total()
    assert len(counted) + counted.dropped_keys == len(keys)
    assert (counted.counted, counted.threshold, counted.extractor) == ("occurrences", 5, "corenet")


def test_the_encoder_gives_the_ids_of_the_captions_keys(counted: Vocabulary) -> None:
    encode = pickle.loads(pickle.dumps(Encoder(counted)))
    dog, cat = counted.index["n02084071"], counted.index["n02121620"]
    assert encode(Sample("0", None, ("a dog and a dog", "the cat"))) == sorted({dog, cat})
    assert encode(Sample("1", None)) == encode(Sample("2", None, ("of the",))) == []


def test_an_encoder_wants_the_extractor_that_counted(counted: Vocabulary) -> None:
    with pytest.raises(DataError, match="counted with corenet 0"):
        Encoder(replace(counted, extractor_version="0"))


def words(number: int) -> list[str]:
    """Captions of one word, each with one key of its own."""
    extract = labels.extractor()
    graph = wordnet.nouns()
    found: dict[str, str] = {}
    for key in graph.keys:
        lemma = graph.lemmas(key)[0]
        if lemma.isalpha() and lemma.islower() and extract(lemma) == [key]:
            found[key] = lemma
        if len(found) == number:
            break
    return list(found.values())


def test_threshold_size_and_what_counts(source_of: Callable[..., Source]) -> None:
    common, rare = (lambda w: (w[:120], w[120:]))(words(150))
    texts = [(f"{word} {word}",) for word in common] + [(word,) for word in rare]
    source = source_of(texts)
    assert len(vocabulary.build(source, threshold=1)) == 120
    assert len(vocabulary.build(source, threshold=0)) == 150
    largest = vocabulary.build(source, max_size=130)
    assert len(largest) == 130
    # 150 keys occur: a vocabulary of 130 cannot say how many do.
    assert [(at.threshold, at.size) for at in summary(largest).sizes] == [(1, 120)]
    assert vocabulary.parse(largest.to_text()) == largest
    uncut = summary(vocabulary.build(source, max_size=200))
    assert [(at.threshold, at.size) for at in uncut.sizes] == [(0, 150)]
    assert set(vocabulary.build(source, threshold=0, count="captions").counts) == {1}
    with pytest.raises(DataError, match="0 labels occur more than 1 times"):
        vocabulary.build(source, threshold=1, count="captions")
    for wrong in ({"threshold": -1}, {"max_size": 99}, {"extractor": "corenett"}):
        with pytest.raises(UsageError):
            vocabulary.build(source, **wrong)  # type: ignore[arg-type]


def test_the_papers_threshold_empties_small_data(pairs: Source, counted: Vocabulary) -> None:
    with pytest.raises(DataError) as refused:
        vocabulary.build(pairs)
    sizes = ", ".join(f"{counted.size_at(at):,} at {at}" for at in (5, 10, 50, 100))
    assert sizes in refused.value.message
    assert refused.value.exit_code == 3
    enough = int(refused.value.hint.removeprefix("take a lower one: --threshold "))
    assert counted.size_at(enough) >= 100 > counted.size_at(enough + 1)


def test_no_captions_is_data_that_cannot_be_used(source_of: Callable[..., Source]) -> None:
    with pytest.raises(DataError, match="has no captions"):
        vocabulary.build(source_of([(), ()]))


def test_saved_and_read_again(counted: Vocabulary, tmp_path: Path) -> None:
    counted.save(tmp_path / "vocabulary.json")
    assert vocabulary.load(tmp_path / "vocabulary.json") == counted
    assert json.loads(counted.to_text()) == counted.to_json()
    earlier = {name: value for name, value in counted.to_json().items() if name != "max_size"}
    assert vocabulary.parse(json.dumps(earlier)) == counted


keys = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=30, unique=True)


@given(keys, st.data())
def test_any_vocabulary_round_trips(keys: list[str], data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(0, 2**62), min_size=len(keys), max_size=len(keys)))
    rows = sorted(zip(keys, counts, strict=True), key=lambda row: (-row[1], row[0]))
    made = Vocabulary(
        tuple(key for key, _ in rows), tuple(n for _, n in rows), "e", "1", "source é", 5, 1, "captions", 0
    )
    assert vocabulary.parse(made.to_text()) == made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, '"format" is not'),
        ({"version": 2}, "version 2"),
        ({"rows": []}, "rows: list should have at least 1 item"),
        ({"rows": [["b", 1], ["a", 2]]}, "row 1 is not in descending order"),
        ({"rows": [["a", 2], ["a", 1]]}, "a key stands in two rows"),
        ({"rows": [["a", True]]}, r"rows\.0\.1: input should be a valid integer"),
        ({"rows": [["a", -1]]}, r"rows\.0\.1: .* greater than or equal to 0"),
        ({"rows": [["a" * 201, 1]]}, r"rows\.0\.0: string should have at most 200 characters"),
        ({"captions": 1.5}, "captions: "),
        ({"counted": "words"}, "counted: "),
        ({"faults": {"empty caption": -1}}, r"faults\.empty caption: "),
        ({"max_size": "2"}, "max_size: "),
        ({"extractor": None}, "extractor: "),
    ],
)
def test_a_damaged_file_is_refused_and_named(change: dict[str, Any], message: str) -> None:
    whole = Vocabulary(("a", "b"), (2, 1), "corenet", "1", "source", 3, 0, "occurrences", 0).to_json()
    with pytest.raises(DataError, match=message) as refused:
        vocabulary.parse(json.dumps({**whole, **change}), "mine.json")
    assert "mine.json" in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize("content", [b"\x80\x04\x95pickle", b"{", b"[1, 2]", b"[" * 100_000, b""])
def test_what_is_no_vocabulary(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "vocabulary.json").write_bytes(content)
    with pytest.raises(DataError):
        vocabulary.load(tmp_path / "vocabulary.json")
    with pytest.raises(DataError, match="cannot read"):
        vocabulary.load(tmp_path / "none.json")
    with pytest.raises(DataError, match="cannot read"):
        vocabulary.load(tmp_path)


def test_the_summary_shows_both_ends(counted: Vocabulary) -> None:
    shown = summary(counted, top=3)
    assert [row.id for row in shown.top + shown.tail] == [
        0,
        1,
        2,
        len(counted) - 3,
        len(counted) - 2,
        len(counted) - 1,
    ]
    assert shown.coverage == pytest.approx(
        sum(counted.counts) / (sum(counted.counts) + counted.dropped_count)
    )
    assert {at.threshold: at.size for at in shown.sizes}[50] == sum(n > 50 for n in counted.counts)
    assert summary(counted, top=len(counted)).tail == []
