"""`catlipctl vocab show`."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catlipctl import vocabulary

Vocab = Callable[..., Any]


def test_both_ends(vocab: Vocab, built: Path) -> None:
    shown = vocab("show", built, "--top", 1).stdout
    assert "n02084071" in shown
    assert "n02958343" in shown
    assert "n02121620" not in shown
    result = json.loads(vocab("show", built.parent, "--json").stdout)["result"]
    assert (result["size"], result["coverage"]) == (3, pytest.approx(56 / 60))
    assert result["inputs"]["vocabulary"] == str(built)


def test_coverage_by_threshold_and_faults_by_kind(vocab: Vocab, built: Path) -> None:
    result = json.loads(vocab("show", built, "--json").stdout)["result"]
    assert result["sizes"] == [
        {"threshold": 5, "size": 3, "share": pytest.approx(56 / 60)},
        {"threshold": 10, "size": 2, "share": pytest.approx(50 / 60)},
    ]
    assert result["faults"] == {"caption not UTF-8": 3, "truncated shard": 1}
    shown = " ".join(vocab("show", built).stdout.split())
    assert "> 5 3 93.3% > 10 2 83.3%" in shown
    assert "caption not UTF-8: 3, truncated shard: 1" in shown
    assert "60, of which 5 (8.3%) without a label" in shown


def test_the_most_frequent_are_said_to_be_so(vocab: Vocab, built: Path) -> None:
    replace(vocabulary.load(built), threshold=0, max_size=3).save(built)
    shown = " ".join(vocab("show", built).stdout.split())
    assert "3 most frequent" in shown
    assert "> 0 3" not in shown
    assert "> 6 2 83.3%" in shown


def test_what_is_not_known_is_said_to_be_so(vocab: Vocab, built: Path) -> None:
    unknown = dict.fromkeys(("captions", "captions_without_label", "dropped_keys", "dropped_count"))
    replace(vocabulary.load(built), **unknown).save(built)  # type: ignore[arg-type]
    shown = " ".join(vocab("show", built).stdout.split())
    assert "captions unknown" in shown
    assert "coverage unknown" in shown
    assert "threshold classes ─" in shown
    result = json.loads(vocab("show", built, "--json").stdout)["result"]
    assert result["captions"] is result["coverage"] is None


def test_plots_of_the_papers_figures_3a_and_3b(vocab: Vocab, built: Path, here: Path) -> None:
    pytest.importorskip("matplotlib")
    result = vocab("show", built, "--out", "plots", "--plots", "all", "--json")
    files = json.loads(result.stdout)["result"]["files"]
    stems = ("label-frequencies", "sizes-by-threshold")
    assert files == [f"plots/{stem}.{kind}" for stem in stems for kind in ("png", "svg")]
    for file in files:
        assert (here / file).read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")
        assert f"wrote {file}" in result.stderr
    assert "never overwritten" in vocab("show", built, "--out", "plots", code=2).stderr
    vocab("show", built, "--out", "few")
    assert sorted(path.name for path in (here / "few").iterdir()) == [f"{stem}.png" for stem in stems]


def test_what_is_not_there(vocab: Vocab, built: Path, here: Path) -> None:
    assert "catlipctl pretrain" in vocab("show", code=4).stderr
    assert "no vocabulary at" in vocab("show", "none.json", code=3).stderr
    built.write_text("{}")
    assert "is not a vocabulary" in vocab("show", built, code=3).stderr
    (here / "empty").mkdir()
    refused = vocab("show", "empty", code=4)
    assert "hint: " in refused.stderr
    assert "timm:" not in refused.stderr
