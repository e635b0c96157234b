"""Captions in shards: what is read of each kind of source, and what is counted as wrong with it."""

import json
import os
import pickle
import tarfile
from pathlib import Path

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catlipctl.data import caption_shards as shards_module
from catlipctl.data.caption_shards import caption_shards
from catlipctl.data.sources import hub, parquet
from catlipctl.data.sources.faults import Faults
from catlipctl.data.sources.storage import File, retrying
from catlipctl.errors import DataError, UsageError


def read(*specs, **options):
    """All captions, and the faults, of some sources; each shard travels as to a worker."""
    found = Faults()
    shards = [pickle.loads(pickle.dumps(shard)) for shard in caption_shards(specs, **options)]
    return [texts for shard in shards for texts in shard.read(found)], dict(found.counts())


def test_the_real_pairs(shared_data):
    texts = []
    for path in sorted((shared_data / "pairs").glob("*.tar")):
        with tarfile.open(path) as tar:
            texts += [tar.extractfile(m).read().decode() for m in tar if m.name.endswith(".txt")]
    found, faults = read(shared_data / "pairs")
    assert sorted(found) == sorted((text.strip(),) for text in texts)
    assert faults == {}


def test_a_tar_and_all_that_may_be_wrong_in_it(tmp_path, write_tar, png):
    members = [
        *(("a.png", png(1)), ("a.txt", b"plain")),
        *(("b.png", png(1)), ("b.txt", b"caf\xe9")),
        *(("c.png", png(1)), ("c.txt", b"y" * (2**20 + 7))),
        *(("d.png", png(1)), ("d.txt", b"")),
        *(("e.png", png(1)), ("e.txt", b" \n")),
        ("f.png", png(1)),
        ("g.txt", b"no image"),
        *(("h.png", png(1)), ("h.json", b'{"caption": null}')),
        *(("i.png", png(1)), ("i.json", b'{"caption": ["two", "of them"]}')),
        *(("j.png", png(1)), ("j.json", b'{"caption": "\xff"}')),
        *(("k.png", png(1)), ("k.json", b'{"caption"')),
        *(("l.png", png(1)), ("l.json", json.dumps({"caption": "z" * (2**20 + 7)}).encode())),
    ]
    found, faults = read(write_tar(tmp_path / "a.tar", members))
    assert [text[:8] for texts in found for text in texts] == (
        ["plain", "caf\ufffd", "yyyyyyyy", "", "", "two", "of them", "\ufffd", "zzzzzzzz"]
    )
    assert len(found) == 8
    assert max(len(text) for texts in found for text in texts) == 2**20
    assert faults == {
        "caption not UTF-8": 2,
        "caption over 1 MiB": 2,
        "image without caption": 3,
        "caption without image": 1,
    }


def test_several_captions_an_image_count_together(tmp_path, write_tar, png):
    members = [
        *(("a.png", png(1)), ("a.txt", b"one"), ("a.json", b'{"synthetic": "two"}')),
        *(("b.png", png(1)), ("b.json", b'{"synthetic": "three"}')),
    ]
    tar = write_tar(tmp_path / "a.tar", members)
    assert read(tar, caption_keys=["txt", "json:synthetic"]) == ([("one", "two"), ("three",)], {})
    assert read(tar, image_key="jpg") == ([], {"caption without image": 2})


def test_no_image_is_read(tmp_path, write_tar, monkeypatch):
    members = [member for n in range(3) for member in ((f"{n}.jpg", bytes(5000)), (f"{n}.txt", b"a dog"))]
    tar = write_tar(tmp_path / "a.tar", members)
    read(tar)  # whose index is now kept
    asked = []
    read_many = File.read_many
    monkeypatch.setattr(
        File, "read_many", lambda self, at, sizes: asked.extend(sizes) or read_many(self, at, sizes)
    )
    monkeypatch.setattr(File, "open", None)
    assert read(tar)[0] == [("a dog",)] * 3
    # A header and a text take a block each.
    assert asked == [1024, 1024, 1024]


def test_shards_that_are_not_whole(tmp_path, write_tar, png):
    members = [member for n in range(4) for member in ((f"{n}.png", png(n)), (f"{n}.txt", b"a dog"))]
    whole = write_tar(tmp_path / "a.tar", members).read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:2300])
    (tmp_path / "b.tar").write_bytes(whole[:2048] + b"x" * 512 + whole[2560:])
    (tmp_path / "c.tar").write_bytes(b"")
    (tmp_path / "d.tar").write_bytes(b"not a tar" * 100)
    pq.write_table(pa.table({"caption": ["a cat"] * 50_000}), tmp_path / "e.parquet")
    (tmp_path / "f.parquet").write_bytes((tmp_path / "e.parquet").read_bytes()[:-20])
    (tmp_path / "g.csv").write_text("caption\na bird\n")
    (tmp_path / "h.csv").write_text("")
    found, faults = read(tmp_path / "*.tar")
    assert len(found) == 2
    assert faults == {"truncated shard": 1, "damaged shard": 1, "unreadable shard": 2}
    found, faults = read(tmp_path / "*.parquet", tmp_path / "*.csv")
    assert len(found) == 50_001
    assert faults == {"unreadable shard": 2}


def test_parquet_with_captions_alone(tmp_path):
    wrong = pa.array([b"fine", b"caf\xe9", None, b"", b"y" * (2**20 + 1)]).view(pa.string())
    lists = pa.array([["a", "b"], [], None, ["c"], ["d"]])
    pq.write_table(pa.table({"caption": wrong, "synthetic": lists, "n": range(5)}), tmp_path / "a.parquet")
    found, faults = read(tmp_path / "a.parquet")
    assert [texts[0][:5] for texts in found] == ["fine", "caf\ufffd", "", "yyyyy"]
    assert faults == {"image without caption": 1, "caption not UTF-8": 1, "caption over 1 MiB": 1}
    found, faults = read(tmp_path / "a.parquet", caption_keys=["synthetic", "caption"])
    assert [len(texts) for texts in found] == [3, 1, 2, 2]
    assert faults["image without caption"] == 1
    with pytest.raises(DataError, match="column 'n' is int64, which --caption-key cannot take"):
        read(tmp_path / "a.parquet", caption_keys=["n"])


def test_large_parquet_is_cut_at_row_groups(tmp_path, monkeypatch):
    rows = [f"caption {n}" for n in range(5000)]
    rows[4321] = None
    pq.write_table(pa.table({"caption": rows}), tmp_path / "a.parquet", row_group_size=500)
    monkeypatch.setattr(parquet, "LARGE_FILE", 0)
    monkeypatch.setattr(parquet, "ROWS_A_SHARD", 1200)
    shards = caption_shards([tmp_path / "a.parquet"])
    assert len(shards) == len({shard.identity for shard in shards}) == 4
    assert sum(shard.size for shard in shards) == pytest.approx(
        (tmp_path / "a.parquet").stat().st_size, abs=4
    )
    found = Faults()
    texts = [texts for shard in shards for texts in shard.read(found)]
    assert sorted(texts) == sorted((row,) for row in rows if row)
    assert found.examples() == {"image without caption": "a.parquet, row 4321"}
    monkeypatch.setattr(parquet, "ROWS_A_SHARD", 10_000)
    assert len(caption_shards([tmp_path / "a.parquet"])) == 1


def img2dataset(folder: Path, name: str, captions: list[str], failed: int) -> None:
    """NAME.parquet as img2dataset leaves it: a row for every URL that it tried."""
    rows = len(captions) + failed
    columns = {
        "url": [f"https://example.org/{n}" for n in range(rows)],
        "caption": captions + ["lost"] * failed,
        "key": [f"{n:09d}" for n in range(rows)],
        "status": ["success"] * len(captions) + ["failed_to_download"] * failed,
        "error_message": [None] * len(captions) + ["HTTP 404"] * failed,
    }
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")


def test_the_parquet_that_img2dataset_leaves(tmp_path, write_tar, png):
    for name in ("00000", "00001", "00002"):
        write_tar(tmp_path / f"{name}.tar", [("0.png", png(0)), ("0.txt", b"from the tar")])
    img2dataset(tmp_path, "00000", ["a dog", "a cat"], failed=3)
    (tmp_path / "00001.parquet").write_bytes(b"broken")
    beside = ([("a dog",), ("a cat",)], {"caption without image": 3, "unreadable shard": 2})
    assert read(tmp_path, captions_from="parquet") == beside
    assert read(tmp_path / "{00000..00002}.tar", captions_from="parquet") == beside
    assert read(tmp_path)[0] == [("from the tar",)] * 3
    itself = ([("a dog",), ("a cat",)], {"caption without image": 3})
    assert read(tmp_path / "00000.parquet") == itself
    assert read(tmp_path / "00000.parquet", captions_from="parquet") == itself
    (tmp_path / "a.csv").write_text("caption\na\n")
    with pytest.raises(UsageError, match="listing"):
        read(tmp_path / "a.csv", captions_from="parquet")


def test_listings_are_streamed(tmp_path):
    (tmp_path / "a.tsv").write_bytes(
        b'filepath\ttitle\n1.jpg\t"two\nlines"\n2.jpg\tcaf\xe9\n3.jpg\t\n\tlost\n4.jpg\n'
    )
    (tmp_path / "b.csv").write_bytes(b"TEXT,URL\nonly words,http://example.org\n")
    found, faults = read(tmp_path / "a.tsv", tmp_path / "b.csv")
    assert found == [("two\nlines",), ("caf\ufffd",), ("",), ("only words",)]
    assert faults == {"caption not UTF-8": 1, "caption without image": 1, "image without caption": 1}
    (tmp_path / "c.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no column that looks like captions"):
        read(tmp_path / "c.csv")


def test_urls(tmp_path, write_tar, png):
    import fsspec

    memory = fsspec.filesystem("memory")
    tar = write_tar(tmp_path / "a.tar", [("0.png", png(0)), ("0.txt", b"far away")])
    memory.pipe("/captions-of/a.tar", tar.read_bytes())
    memory.pipe("/captions-of/b.csv", b"caption\nlisted\n")
    pq.write_table(pa.table({"caption": ["columns"]}), tmp_path / "c.parquet")
    memory.pipe("/captions-of/a.parquet", (tmp_path / "c.parquet").read_bytes())
    urls = [f"memory://captions-of/{name}" for name in ("*.tar", "b.csv", "*.parquet")]
    assert sorted(read(*urls)[0]) == [("columns",), ("far away",), ("listed",)]
    assert read(urls[0], captions_from="parquet")[0] == [("columns",)]


def test_a_server_that_fails_is_a_fault(monkeypatch):
    import fsspec
    from fsspec.implementations.memory import MemoryFileSystem

    class ClientError(Exception):
        """As aiohttp's: no OSError."""

    def fail(*_arguments, **_options):
        raise ClientError("403")

    fsspec.filesystem("memory").pipe({f"/failing/a.{kind}": b"a" for kind in ("tar", "csv", "parquet")})
    urls = [f"memory://failing/a.{kind}" for kind in ("tar", "csv", "parquet")]
    monkeypatch.setattr(shards_module, "_check_first", lambda _: None)
    monkeypatch.setattr(retrying, "PAUSES", (0.0,))
    shards = caption_shards(urls)
    monkeypatch.setattr(MemoryFileSystem, "cat_file", fail)
    found = Faults()
    assert [texts for shard in shards for texts in shard.read(found)] == []
    assert found.counts() == {"unreadable shard": 3}


def test_parquet_of_the_hub(monkeypatch):
    files = ["en/train-0.parquet", "en/test-0.parquet", "fr/train-0.parquet", "README.md"]
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda *_args, **_keywords: files)
    monkeypatch.setattr(hub, "look_at_all", lambda urls: [File(url, 9, "1") for url in urls])
    monkeypatch.setattr(shards_module, "_check_first", lambda _: None)
    names = [shard.name for shard in caption_shards(["hf:org/name:en@v1"])]
    assert names == ["hf://datasets/org/name@v1/en/train-0.parquet"]
    files[:] = ["a.json"]
    with pytest.raises(DataError, match="neither tars nor Parquet") as error:
        caption_shards(["hf:org/name"])
    assert "@refs/convert/parquet" in error.value.hint


def test_a_shard_is_known_by_file_and_keys(tmp_path, write_tar, png, progress):
    tar = write_tar(tmp_path / "a.tar", [("0.png", png(0)), ("0.txt", b"a")])

    def identity(**options):
        (shard,) = caption_shards([tar, tmp_path / "*.tar"], progress=progress, **options)
        return shard.identity

    first = identity()
    assert "1 of 2 shards had been named before" in progress.warnings[0]
    assert identity() == first != identity(caption_keys=["json:caption"])
    os.utime(tar, ns=(1, 1))
    assert identity() != first


def test_what_is_refused(tmp_path, png):
    (tmp_path / "classes" / "cat").mkdir(parents=True)
    (tmp_path / "classes" / "cat" / "0.png").write_bytes(png(0))
    with pytest.raises(DataError, match="folder without captions") as error:
        caption_shards([tmp_path / "classes"])
    assert "give tars, Parquet or a listing" in error.value.hint
    with pytest.raises(UsageError, match="counts each caption once"):
        caption_shards(["a.tar=2"])
    with pytest.raises(DataError, match="there is no"):
        caption_shards([tmp_path / "none.tar"])
