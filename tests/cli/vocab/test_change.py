"""`catlipctl vocab prune`, `merge`, `import` and `export`."""

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catlipctl import vocabulary
from catlipctl.labels import wordnet

Vocab = Callable[..., Any]


@pytest.fixture
def large(built: Path) -> Path:
    """200 classes that count 5 to 204 times."""
    keys, counts = tuple(wordnet.nouns().keys[:200]), tuple(range(205, 5, -1))
    replace(vocabulary.load(built), keys=keys, counts=counts).save(built)
    return built


def test_the_more_frequent_are_kept(vocab: Vocab, large: Path, here: Path) -> None:
    result = vocab("prune", large, "--threshold", 50, "--out", "less.json", "--json")
    document = json.loads(result.stdout)["result"]
    assert (document["size"], document["threshold"], document["path"]) == (155, 50, "less.json")
    assert document["inputs"]["vocabulary"] == str(large)
    found = vocabulary.load(here / "less.json")
    assert found.counts == tuple(range(205, 50, -1))
    assert (found.dropped_keys, found.dropped_count) == (2 + 45, 4 + sum(range(6, 51)))
    vocab("prune", large, "--max-size", 120, "--out", "120.json")
    assert len(vocabulary.load(here / "120.json")) == 120
    assert "never overwritten" in vocab("prune", large, "--max-size", 120, "--out", large, code=2).stderr


def test_what_cannot_be_pruned(vocab: Vocab, large: Path, here: Path) -> None:
    assert "is below 5" in vocab("prune", large, "--threshold", 4, "--out", "a.json", code=2).stderr
    assert "a max size, or both" in vocab("prune", large, "--out", "a.json", code=2).stderr
    assert "--threshold 105" in vocab("prune", large, "--threshold", 110, "--out", "a.json", code=3).stderr
    assert not (here / "a.json").exists()


@pytest.mark.usefixtures("newest")
def test_the_newest_runs_is_pruned(vocab: Vocab) -> None:
    refused = vocab("prune", "--threshold", 10, "--out", "a.json", code=3)
    assert refused.stderr.splitlines()[0].startswith("vocabulary: runs/new/vocabulary.json (newest run")
    assert "hint: count more captions" in refused.stderr


def test_counts_are_added_whatever_the_order(vocab: Vocab, built: Path, here: Path) -> None:
    one = replace(vocabulary.load(built), threshold=0, dropped_keys=0, dropped_count=0)
    one.save(here / "one.json")
    replace(one, counts=(9, 8, 7), source="others").save(here / "other.json")
    result = vocab("merge", "one.json", "other.json", "--out", "both.json", "--json")
    assert result.stderr == "wrote both.json\n"
    document = json.loads(result.stdout)["result"]
    assert document["path"] == "both.json"
    assert document["inputs"] == {"vocabularies": "one.json other.json"}
    assert document["captions"] == 120
    assert [row["count"] for row in document["top"]] == [39, 28, 13]
    vocab("merge", "other.json", "one.json", "--out", "reversed.json")
    assert (here / "both.json").read_bytes() == (here / "reversed.json").read_bytes()
    assert "never overwritten" in vocab("merge", "one.json", "--out", "both.json", code=2).stderr


def test_pruned_ones_are_warned_of_and_shown_to_be_low(vocab: Vocab, built: Path, here: Path) -> None:
    made = vocabulary.load(built)
    replace(made, keys=made.keys[:2], counts=made.counts[:2], source="others").save(here / "other.json")
    result = vocab("merge", built, "other.json", "--out", "both.json")
    assert "warning: " in result.stderr
    assert "--threshold 0" in result.stderr
    assert "counts may be low by up to 5" in result.stdout
    assert "counts may be low by up to 5" in vocab("show", "both.json").stdout


def test_unlike_ones_are_refused(vocab: Vocab, built: Path, here: Path) -> None:
    replace(vocabulary.load(built), counted="captions").save(here / "other.json")
    refused = vocab("merge", "vocabulary.json", "other.json", "--out", "both.json", code=3).stderr
    assert "vocabulary.json and other.json cannot be added" in refused
    assert not (here / "both.json").exists()
    assert "no vocabulary at" in vocab("merge", built, "none.json", "--out", "both.json", code=3).stderr


class Touch:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch created",)


def test_the_released_form(vocab: Vocab, here: Path) -> None:
    released = {"n5928118": 52_418_327, "n13333833": 46_393_897, "n928077": 30_290_822}
    (here / "vocab.pkl").write_bytes(pickle.dumps(released))
    result = vocab("import", "vocab.pkl", "--out", "vocabulary.json", "--max-size", 2)
    assert result.stderr == "wrote vocabulary.json\n"
    shown = " ".join(result.stdout.split())
    assert "2 most frequent" in shown
    assert "captions unknown" in shown
    assert "n05928118 image 52,418,327" in shown
    found = vocabulary.load(here / "vocabulary.json")
    assert (found.keys, found.counted) == (("n05928118", "n13333833"), "occurrences")
    assert "never overwritten" in vocab("import", "vocab.pkl", "--out", "vocabulary.json", code=2).stderr


def test_code_is_refused_and_not_run(vocab: Vocab, here: Path) -> None:
    (here / "vocab.pkl").write_bytes(pickle.dumps({"n5928118": Touch()}))
    refused = vocab("import", "vocab.pkl", "--out", "vocabulary.json", "--json", code=3)
    error = json.loads(refused.stdout)["error"]
    assert error["exit_code"] == 3
    assert "vocab.pkl is refused: it asks for code to be run" in error["message"]
    assert [file.name for file in here.iterdir()] == ["vocab.pkl"]
    pickle.loads((here / "vocab.pkl").read_bytes())
    assert (here / "created").exists()


TEXT = "n02084071\t30\tdog\nn02121620\t20\tcat\nn02958343\t6\tcar\n"


def test_a_class_a_line(vocab: Vocab, built: Path, here: Path) -> None:
    assert vocab("export", built).stdout == vocab("export", built, "--out", "-").stdout == TEXT
    result = vocab("export", built, "--out", "v.txt")
    assert (here / "v.txt").read_text() == TEXT
    assert (result.stdout.strip(), result.stderr) == ("", "wrote v.txt\n")
    assert "never overwritten" in vocab("export", built, "--out", "v.txt", code=2).stderr


def test_as_one_document(vocab: Vocab, built: Path) -> None:
    document = json.loads(vocab("export", built, "--json").stdout)["result"]
    assert (document["size"], document["text"]) == (3, TEXT)
    document = json.loads(vocab("export", built, "--out", "v.txt", "--json").stdout)["result"]
    assert (document["path"], document["text"]) == ("v.txt", "")


@pytest.mark.usefixtures("newest")
def test_the_newest_runs_is_exported_and_imported(vocab: Vocab, here: Path) -> None:
    vocab("export", "--out", "v.txt")
    vocab("import", "v.txt", "--out", "again.json")
    again, before = vocabulary.load(here / "again.json"), vocabulary.load(here / "vocabulary.json")
    assert (again.keys, again.counts) == (before.keys, before.counts)
