"""`catlipctl vocab build`: what it writes, what it tells, and what it refuses before it counts."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catlipctl import labels, vocabulary
from catlipctl.labels import wordnet

Vocab = Callable[..., Any]


@pytest.fixture
def captions(here: Path) -> Path:
    """A folder of two shards: 120 words, each once and in every other caption twice, and a few faults."""
    extract = labels.extractor()
    words = (word for word in wordnet.nouns().words() if word.isalpha())
    of_keys = {tuple(extract(word)): word for word in islice(words, 2000)}
    single = [word for keys, word in of_keys.items() if len(keys) == 1][:120]
    texts = [f"{word} {word}" if number % 2 else word for number, word in enumerate(single)]
    (here / "captions").mkdir()
    for number, part in enumerate((texts[:60], [*texts[60:], "", "一只狗", "of the"])):
        pq.write_table(pa.table({"caption": part}), here / "captions" / f"{number}.parquet")
    return here / "captions"


def test_a_tar_is_counted_and_never_overwritten(vocab: Vocab, shared_data: Path, here: Path) -> None:
    tar = shared_data / "pairs" / "tuxpaint-000000.tar"
    result = json.loads(vocab("build", tar, "--threshold", 0, "--json").stdout)["result"]
    assert result["path"] == "vocabulary.json"
    found = vocabulary.load(here / "vocabulary.json")
    assert result["size"] == len(found) > 100
    assert result["captions"] == found.captions == 772
    assert result["inputs"]["sources"] == str(tar)
    assert "never overwritten" in vocab("build", tar, code=2).stderr
    refused = vocab("build", tar, "--out", "b.json", code=3)
    assert "at 5" in refused.stderr
    assert not (here / "b.json").exists()


def test_what_it_tells(vocab: Vocab, captions: Path, here: Path) -> None:
    result = vocab("build", captions, "--threshold", 0, "--workers", 1)
    assert "2 shards counted in" in result.stdout
    assert "captions/s" in result.stdout
    assert "empty caption: 1" in result.stdout
    assert "warning: 1 caption in another script: " in result.stderr
    found = vocabulary.load(here / "vocabulary.json")
    assert found.faults == {"caption in another script": 1, "empty caption": 1}
    assert (found.captions, found.captions_without_label, len(found)) == (122, 2, 120)
    assert (sum(found.counts), found.source) == (180, str(captions))

    again = vocab("build", captions, "--threshold", 0, "--out", "again.json")
    assert "2 shards taken from the cache" in again.stdout
    assert (here / "again.json").read_bytes() == (here / "vocabulary.json").read_bytes()


def test_the_plot_stands_beside_the_file(vocab: Vocab, captions: Path, here: Path) -> None:
    pytest.importorskip("matplotlib")
    document = vocab("build", captions, "--threshold", 0, "--workers", 1, "--out", "made/v.json", "--json")
    files = json.loads(document.stdout)["result"]["files"]
    assert files == ["made/v.png"]
    assert all((here / file).is_file() for file in files)
    (here / "made" / "v.json").unlink()
    assert "v.png exists" in vocab("build", captions, "--out", "made/v.json", code=2).stderr
    # What is not drawn is not in the way.
    words = ("--threshold", 0, "--plots", "none", "--json")
    document = vocab("build", captions, *words, "--out", "made/v.json")
    assert json.loads(document.stdout)["result"]["files"] == []


def test_what_counts(vocab: Vocab, captions: Path, here: Path) -> None:
    def built(name: str, *options: object) -> vocabulary.Vocabulary:
        vocab("build", captions, "--threshold", 0, "--workers", 1, "--out", f"{name}.json", *options)
        return vocabulary.load(here / f"{name}.json")

    assert set(built("a", "--count", "captions").counts) == {1}
    assert set(built("b", "--count", "occurrences").counts) == {1, 2}
    # SuperClass weighs sub-words by document frequency.
    assert built("c", "--extractor", "subword").counted == "captions"
    most = built("d", "--max-size", 100)
    assert (len(most), most.max_size, most.dropped_keys) == (100, 100, 20)


def test_the_order_of_sources_changes_nothing(vocab: Vocab, captions: Path, here: Path) -> None:
    shards = sorted(captions.iterdir())
    vocab("build", *shards, "--threshold", 0, "--workers", 1)
    vocab("build", *reversed(shards), "--threshold", 0, "--out", "b.json", "--workers", 1)
    assert (here / "b.json").read_bytes() == (here / "vocabulary.json").read_bytes()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--count", "words"), 2, "words"),
        (("--engine", "threads"), 2, "threads"),
        (("--captions-from", "json"), 2, "json"),
        (("--extractor", "corenett"), 2, "no extractor is called 'corenett'"),
        (("--threshold", -1), 2, "negative"),
        (("--max-size", 9), 2, "too small"),
        (("--out", "captions/0.parquet/v.json"), 2, "cannot be written"),
        (("--out", "v.png"), 2, "where a plot"),
        (("--caption-key", "titel"), 3, "no column 'titel'"),
    ],
)
def test_refused_before_anything_is_counted(
    vocab: Vocab, captions: Path, options: tuple[object, ...], code: int, message: str
) -> None:
    refused = vocab("build", captions, *options, code=code)
    assert message in refused.stderr
    assert "counting" not in refused.stderr


def test_a_vocabulary_has_no_weights(vocab: Vocab, captions: Path) -> None:
    refused = vocab("build", f"{captions}=2", code=2)
    assert "counts each caption once" in refused.stderr


def test_the_captions_of_img2dataset(vocab: Vocab, captions: Path, here: Path) -> None:
    for path in captions.iterdir():
        path.with_suffix(".tar").write_bytes(b"")
    (captions / "2.tar").write_bytes(b"")
    options = ("--threshold", 0, "--workers", 1)
    vocab("build", captions, *options, "--captions-from", "parquet")
    found = vocabulary.load(here / "vocabulary.json")
    assert (found.captions, found.faults["unreadable shard"]) == (122, 1)
    options = (*options, "--out", "b.json")
    strict = vocab("build", captions, *options, "--captions-from", "parquet", "--strict", code=3)
    assert "2.parquet" in strict.stderr
    assert "no captions" in vocab("build", captions, *options, code=3).stderr
