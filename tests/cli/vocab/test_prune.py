"""`catlipctl vocab prune`."""

import json
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


def test_what_cannot_be(vocab: Vocab, large: Path, here: Path) -> None:
    assert "is below 5" in vocab("prune", large, "--threshold", 4, "--out", "a.json", code=2).stderr
    assert "a max size, or both" in vocab("prune", large, "--out", "a.json", code=2).stderr
    assert "--threshold 105" in vocab("prune", large, "--threshold", 110, "--out", "a.json", code=3).stderr
    assert not (here / "a.json").exists()


@pytest.mark.usefixtures("newest")
def test_the_newest_runs_is_pruned(vocab: Vocab) -> None:
    refused = vocab("prune", "--threshold", 10, "--out", "a.json", code=3)
    assert refused.stderr.splitlines()[0].startswith("vocabulary: runs/new/vocabulary.json (newest run")
    assert "hint: count more captions" in refused.stderr
