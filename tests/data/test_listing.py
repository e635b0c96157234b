"""Listings: CSV, TSV and JSON Lines; and a text file of captions."""

import json
import os
import pickle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catlipctl.data import open_source
from catlipctl.data.caption_shards import caption_shards
from catlipctl.data.sources import text_files
from catlipctl.data.sources.faults import Faults
from catlipctl.data.sources.storage import look_at
from catlipctl.errors import DataError


@pytest.fixture
def images(tmp_path, png):
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    return tmp_path


def test_open_clips_listing(images, png):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"title": ['a "big"\tcat', "two\nlines"], "filepath": ["0.png", "1.png"]})
    frame.to_csv(images / "a.csv", sep="\t", index=False)
    source = open_source(images / "a.csv")
    assert source[0] == ("0.png", png(0), ('a "big"\tcat',), None)
    assert source[1].captions == ("two\nlines",)
    assert (source.shards, source.shard_sizes, source.faults) == (0, [2], {})


def test_a_path_that_is_no_utf8(images, png):
    (images / os.fsdecode(b"caf\xe9.png")).write_bytes(png(7))
    (images / "a.csv").write_bytes(b"filepath,title\ncaf\xe9.png,fine\n")
    assert open_source(images / "a.csv")[0] == ("caf\ufffd.png", png(7), ("fine",), None)


def test_faults_are_counted(images, progress):
    rows = b"filepath,title\n0.png,fine\n1.png,caf\xe9\n2.png,\n,lost\n3.png\n"
    (images / "a.csv").write_bytes(rows + b"3.png," + b"y" * (2**20 + 1) + b"\n")
    source = open_source(images / "a.csv", progress=progress)
    assert dict(source.faults) == {
        "image without caption": 2,
        "caption not UTF-8": 1,
        "caption without image": 1,
        "caption over 1 MiB": 1,
    }
    captions = list(source.captions())
    assert captions[:2] == [("fine",), ("caf\ufffd",)]
    assert len(captions[2][0]) == 2**20


def test_columns_are_chosen_and_listed(images):
    (images / "a.tsv").write_text("where\tsaid\tkind\tbrief\n0.png\ta long one\tcat\tshort\n")
    with pytest.raises(DataError, match=r"where \(text\), said \(text\), kind \(text\)") as error:
        open_source(images / "a.tsv")
    assert "--image-key COLUMN" in error.value.hint
    keys = {"image_key": "where", "caption_keys": ["said", "brief"], "label_key": "kind"}
    source = open_source(images / "a.tsv", **keys)
    assert source[0][2:] == (("a long one", "short"), ("cat",))
    with pytest.raises(DataError, match="no column 'titel'"):
        open_source(images / "a.tsv", image_key="where", caption_keys=["titel"])


def test_paths_may_start_at_the_current_folder(images, tmp_path_factory, monkeypatch, png):
    elsewhere = tmp_path_factory.mktemp("listing") / "a.csv"
    elsewhere.write_text("filepath,title\n2.png,two\n")
    with pytest.raises(DataError, match=r"none of 1 images looked at .* exists: first 2.png"):
        open_source(elsewhere)
    monkeypatch.chdir(images)
    assert open_source(elsewhere)[0].image == png(2)


@pytest.mark.parametrize("body", ["", "filepath,title\n", "filepath,title\n0.png,\n"])
def test_nothing_usable(images, body):
    (images / "a.csv").write_text(body)
    with pytest.raises(DataError):
        open_source(images / "a.csv")


def test_the_fingerprint_follows_file_and_columns(images):
    (images / "a.csv").write_text("filepath,title,caption\n0.png,a,b\n")
    one, other = open_source(images / "a.csv"), open_source(images / "a.csv", caption_keys=["title"])
    assert one[0].captions == ("b",)
    assert one.fingerprint != other.fingerprint
    (images / "a.csv").write_text("filepath,title,caption\n0.png,a,longer\n")
    assert open_source(images / "a.csv").fingerprint != one.fingerprint


def test_several_labels_of_an_image(images):
    """A list is several, each once; an empty list says that there is none, a missing one says nothing."""
    rows = [{"image": "0.png", "tags": tags} for tags in (["dog", "cat", "dog"], [], None, "dog", [3])]
    (images / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    expected = [("dog", "cat"), (), None, ("dog",), ("3",)]
    source = open_source(images / "a.jsonl", label_key="tags", need="images")
    assert source.labels() == [source[i].labels for i in range(5)] == expected
    labelled = open_source(images / "a.jsonl", label_key="tags", need="labels")
    assert (labelled.labels(), labelled.faults) == (expected[:2] + expected[3:], {"image without label": 1})


def test_json_lines(images, png):
    """A listing as many write it: other fields, several captions, numbers for labels."""
    rows = [
        {"id": 7, "image": "0.png", "title": "one", "label": 3},
        {"image": "1.png", "title": ["two", "twice"], "label": "dog", "score": 0.5},
    ]
    (images / "a.jsonl").write_text("\ufeff" + "".join(json.dumps(row) + "\n" for row in rows))
    source = open_source(images / "a.jsonl")
    assert [source[i] for i in range(2)] == [
        ("0.png", png(0), ("one",), ("3",)),
        ("1.png", png(1), ("two", "twice"), ("dog",)),
    ]
    assert (source.labels(), source.faults) == ([("3",), ("dog",)], {})
    with pytest.raises(DataError, match=r"no column 'said': it has id \(text\), image"):
        open_source(images / "a.jsonl", caption_keys=["said"])
    (shard,) = caption_shards([images / "a.jsonl"])
    assert list(shard.read(Faults())) == list(source.captions())


def test_bad_json_lines_are_counted(images, progress):
    lines = [
        *(b'{"filepath": "0.png", "text": "fine"}', b"not json", b"[1]", b'"text"', b"{", b""),
        *(b"[" * 100_000, b'{"n": ' + b"9" * 5000 + b"}"),
        *(b'{"filepath": "1.png", "text": null}', b'{"text": "lost"}', b'{"filepath": 5, "text": "number"}'),
        *(b'{"filepath": "\\ud800.png", "text": "x"}', b'{"filepath": "2.png", "text": "caf\xe9"}'),
        b'{"filepath": "3.png", "text": "\\ud800"}',
    ]
    (images / "a.jsonl").write_bytes(b"\n".join(lines))
    source = open_source(images / "a.jsonl", progress=progress)
    assert list(source.captions()) == [("fine",), ("caf\ufffd",), ("\ufffd" * 3,)]
    assert dict(source.faults) == {
        "row without JSON object": 6,
        "caption without image": 3,
        "image without caption": 1,
        "caption not UTF-8": 2,
    }
    assert "6 rows without JSON object: left out (first: a.jsonl, row 2)" in progress.warnings


@pytest.mark.parametrize(
    "body", ["", "[]\n", '{"filepath": "0.png"}\n', '{"filepath": "0.png", "text": ""}\n']
)
def test_no_usable_json_line(images, body):
    (images / "a.jsonl").write_text(body)
    with pytest.raises(DataError):
        open_source(images / "a.jsonl")


def test_a_text_file_is_captions_alone(tmp_path):
    lines = [b"a dog", b"", b"caf\xe9", b"y" * (2**20 + 5), b"  a cat  \r", b"last"]
    (tmp_path / "a.txt").write_bytes(b"\n".join(lines))
    (shard,) = [pickle.loads(pickle.dumps(shard)) for shard in caption_shards([tmp_path / "a.txt"])]
    found = Faults()
    read = [text for (text,) in shard.read(found)]
    assert [text[:5] for text in read] == ["a dog", "", "caf\ufffd", "yyyyy", "a cat", "last"]
    assert len(read[3]) == 2**20
    assert found.counts() == {"caption not UTF-8": 1, "caption over 1 MiB": 1}
    assert found.examples()["caption not UTF-8"] == "a.txt at byte 7"
    with pytest.raises(DataError, match=r"a\.txt is a text file: it has captions but no images") as error:
        open_source(tmp_path / "a.txt")
    assert "vocab build" in error.value.hint


@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\r\n\ufeff"), max_size=12), max_size=20),
    part=st.integers(1, 30),
    bom=st.booleans(),
)
@example(lines=[], part=1, bom=True)
@settings(max_examples=100, deadline=None)
def test_parts_of_a_text_file_are_its_lines(tmp_path_factory, lines, part, bom):
    path = tmp_path_factory.getbasetemp() / "lines.txt"
    path.write_bytes(b"\xef\xbb\xbf" * bom + "\n".join(lines).encode())
    with path.open(encoding="utf-8-sig", newline="\n") as stream:
        theirs = [(line.strip(),) for line in stream]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_files, "LARGE_FILE", 0)
        patch.setattr(text_files, "PART", part)
        shards = text_files.line_shards(look_at(str(path)))
    assert [texts for shard in shards for texts in shard.read(Faults())] == theirs
    assert len({shard.identity for shard in shards}) == len(shards)
    assert sum(shard.size for shard in shards) == path.stat().st_size
