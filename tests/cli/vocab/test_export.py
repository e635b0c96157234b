"""`catlipctl vocab export`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catlipctl import vocabulary

Vocab = Callable[..., Any]
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
