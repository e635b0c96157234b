"""`catlipctl vocab merge`."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from catlipctl import vocabulary

Vocab = Callable[..., Any]


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
