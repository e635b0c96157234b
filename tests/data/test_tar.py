"""Our tar reader against tarfile and webdataset, and what it makes of damage."""

import inspect
import io
import json
import multiprocessing
import os
import pickle
import re
import tarfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catlipctl.data import open_source
from catlipctl.data.sources import storage
from catlipctl.data.sources.storage import look_at
from catlipctl.data.sources.tars.building import build
from catlipctl.data.sources.tars.members import Damage, members, split_name
from catlipctl.errors import DataError

_NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=300)
_MEMBERS = st.lists(st.tuples(_NAMES, st.binary(max_size=2000)), max_size=8)
_FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def packed(entries: list[tuple[str, bytes]], format: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format, encoding="utf-8") as tar:
        for name, body in entries:
            info = tarfile.TarInfo(name)
            # A float time makes a PAX header of its own beside that of the name, as webdataset's writer does.
            info.size, info.mtime = len(body), 1.5
            try:
                tar.addfile(info, io.BytesIO(body))
            except ValueError:  # a name too long for ustar
                continue
    return stream.getvalue()


def by_tarfile(archive: bytes) -> list[tuple[bytes, int, int]]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:", encoding="utf-8") as tar:
        files = [m for m in tar if m.isreg()]
    return [(m.name.rstrip("/").encode("utf-8", "surrogateescape"), m.offset_data, m.size) for m in files]


def by_us(archive: bytes) -> tuple[list[tuple[bytes, int, int]], str]:
    found = []
    try:
        for member in members(io.BytesIO(archive), len(archive)):
            found.append((member.name.rstrip(b"/"), member.data, member.size))
    except Damage as damage:
        return found, damage.kind
    return found, ""


@given(_MEMBERS, _FORMATS)
@settings(max_examples=150, deadline=None)
def test_headers_equal_tarfile(entries, format):
    archive = packed([(name, body) for name, body in entries if name.strip("/")], format)
    theirs = by_tarfile(archive)
    ours, damage = by_us(archive)
    # tarfile takes a trailing slash for a folder, as old archives wrote them.
    assert [m for m in ours if m[1] in {t[1] for t in theirs}] == theirs
    assert damage == ""


@given(_MEMBERS, _FORMATS, st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_a_cut_costs_only_what_is_cut(entries, format, where):
    archive = packed(entries, format)
    whole, _ = by_us(archive)
    cut = where % (len(archive) + 1)
    ours, damage = by_us(archive[:cut])
    assert ours == [m for m in whole if m[1] + m[2] <= cut and m[1] <= cut][: len(ours)]
    # What is missing, misses at least a byte; nothing whole is lost.
    assert all(m[1] + m[2] > cut for m in whole[len(ours) :])
    if whole and cut < whole[-1][1] + whole[-1][2]:
        assert damage == "truncated shard"


@given(st.text("ab./_-", max_size=16))
@example("a/.b.c")
@example("a.b/.c")
@example("__a__/b.c")
@settings(max_examples=2000, deadline=None)
def test_names_are_split_by_webdatasets_rule(name):
    tariterators = pytest.importorskip("webdataset.tariterators")
    about_the_shard = inspect.signature(tariterators.tar_file_iterator).parameters["skip_meta"].default
    theirs = tariterators.base_plus_ext(name)
    if theirs == (None, None) or re.match(about_the_shard, name):
        assert split_name(name.encode()) is None
    else:
        assert split_name(name.encode()) == tuple(part.encode() for part in theirs)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "name", ["/" * (2**20 - 100), "a/" * (2**19 - 50), "__/" * (2**18), "." * (2**20 - 100)]
)
def test_a_name_of_a_mebibyte_takes_no_time_that_grows_with_its_square(tmp_path, png, write_tar, name):
    # That rule tries each slash with all that follows: 2^39 steps, hours.
    path = write_tar(tmp_path / "a.tar", [(name, b"x"), ("0.png", png(0)), ("0.txt", b"a")])
    assert [one.members for one in build(look_at(str(path))).signatures] == [(("png", 1), ("txt", 1))]


@pytest.fixture
def shard(tmp_path, png, write_tar) -> Path:
    entries = []
    for number in range(20):
        entries.append((f"a/{number:05d}.png", png(number)))
        entries.append((f"a/{number:05d}.txt", f"caption {number}\n".encode()))
        entries.append(
            (f"a/{number:05d}.json", json.dumps({"caption": f"json {number}", "kind": number % 3}).encode())
        )
    return write_tar(tmp_path / "s-000.tar", entries)


def test_samples_equal_what_was_written(shard, png):
    source = open_source(shard)
    assert len(source) == 20
    assert source.shards == 1
    assert source.faults == {}
    assert source[7] == ("a/00007", png(7), ("caption 7",), None)
    assert source[-1] == source[19]
    assert list(source.captions()) == [(f"caption {n}",) for n in range(20)]
    assert source.labels() == [None] * 20
    with pytest.raises(IndexError):
        source[20]


def test_equals_webdataset(shard):
    webdataset = pytest.importorskip("webdataset")
    theirs = [
        (s["png"], s["txt"].decode().strip()) for s in webdataset.WebDataset(str(shard), shardshuffle=False)
    ]
    source = open_source(shard)
    assert [(source[i].image, source[i].captions[0]) for i in range(len(source))] == theirs


def test_real_shards_equal_webdataset(shared_data):
    webdataset = pytest.importorskip("webdataset")
    source = open_source(str(shared_data / "pairs"))
    assert (len(source), source.shards, source.faults) == (12_256, 13, {})
    only = open_source(str(shared_data / "pairs" / "tuxpaint-{000000..000000}.tar"))
    stream = webdataset.WebDataset(str(shared_data / "pairs/tuxpaint-000000.tar"), shardshuffle=False)
    for number, sample in enumerate(stream):
        assert only[number].image == sample["webp"]
        assert only[number].captions == (sample["txt"].decode().strip(),)
    assert number + 1 == len(only)


def test_a_json_array_is_several_labels(tmp_path, png, write_tar):
    present = [[3, 1, 3], [], None, "sky", {"a": 1}, [["x"], None]]
    members = [(f"{i}.png", png(i)) for i in range(len(present))]
    members += [(f"{i}.json", json.dumps({"present": p}).encode()) for i, p in enumerate(present)]
    shard = write_tar(tmp_path / "a.tar", sorted(members))
    source = open_source(shard, label_key="json:present", need="labels")
    expected = [("3", "1"), (), None, ("sky",), None, ("x",)]
    assert source.labels() == expected == [source[i].labels for i in range(len(present))]
    twice = open_source([shard, shard], label_key="json:present", need="labels").labels()
    assert twice == 2 * expected


def test_labels_that_are_alike_are_one_object(tmp_path, png, write_tar):
    members = [(f"{i}.{kind}", body) for i in range(4) for kind, body in (("cls", b"7"), ("png", png(i)))]
    labels = open_source(write_tar(tmp_path / "a.tar", members), need="labels").labels()
    assert labels == [("7",)] * 4
    assert len({id(one) for one in labels}) == 1


def test_keys_choose_captions_and_labels(shard):
    both = open_source(shard, caption_keys=["txt", "json:caption"], label_key="json:kind")
    assert both[4].captions == ("caption 4", "json 4")
    assert both.labels() == [(str(n % 3),) for n in range(20)]
    with pytest.raises(DataError) as error:
        open_source(shard, caption_keys=["json:titel"])
    assert "caption (20), kind (20)" in error.value.message
    assert "--caption-key json:FIELD" in error.value.hint


def test_json_serves_where_there_is_no_txt(tmp_path, png, write_tar):
    document = json.dumps({"caption": ["one", "two"]}).encode()
    entries = [("0.png", png(0)), ("0.json", document), ("1.png", png(1)), ("1.txt", b"three")]
    source = open_source(write_tar(tmp_path / "a.tar", entries))
    assert list(source.captions()) == [("one", "two"), ("three",)]


@pytest.mark.parametrize("caption", ["[" * 900 + "]" * 900, "[" * 100_000, "1" * 5000, '{"a": ' * 900])
def test_json_that_is_nested_or_long_has_no_caption(tmp_path, png, write_tar, caption):
    deep = f'{{"caption": {caption}}}'.encode()
    good = b'{"caption": [["a cat"], "a dog"]}'
    members = [("a.png", png(0)), ("a.json", deep), ("b.png", png(1)), ("b.json", good)]
    source = open_source(write_tar(tmp_path / "deep.tar", members))
    assert list(source.captions()) == [(), ("a cat", "a dog")]


def test_shards_of_different_extensions_all_count(tmp_path, png, write_tar):
    write_tar(tmp_path / "0.tar", [("0.png", png(0)), ("0.txt", b"a")])
    write_tar(tmp_path / "1.tar", [("1.WEBP", png(1)), ("1.txt", b"b"), ("2.jpg", png(2)), ("2.txt", b"c")])
    source = open_source(tmp_path)
    assert [source[i].image for i in range(3)] == [png(i) for i in range(3)]
    assert source.shard_sizes == [1, 2]


def test_interleaved_and_repeated_keys(tmp_path, png, write_tar):
    entries = [("a.png", png(1)), ("b.png", png(2)), ("b.txt", b"b"), ("a.txt", b"a")]
    entries += [("b.png", png(3)), ("b.txt", b"again"), (".hidden.txt", b"x"), ("__meta__.txt", b"y")]
    source = open_source(write_tar(tmp_path / "a.tar", entries))
    assert [(s.image, s.captions) for s in (source[i] for i in range(len(source)))] == [
        (png(1), ("a",)),
        (png(2), ("b",)),
        (png(3), ("again",)),
    ]


def test_each_fault_is_counted_and_told_once(tmp_path, png, write_tar, progress):
    entries = [("0.png", png(0)), ("0.txt", b"fine"), ("1.png", png(1)), ("2.txt", b"no image")]
    entries += [("3.png", png(3)), ("3.txt", b"caf\xe9"), ("4.png", png(4)), ("4.txt", b"x" * (2**20 + 5))]
    entries += [("5.png", png(5)), ("5.txt", b"")]
    source = open_source(write_tar(tmp_path / "a.tar", entries), progress=progress)
    assert dict(source.faults) == {
        "image without caption": 2,
        "caption without image": 1,
        "caption not UTF-8": 1,
        "caption over 1 MiB": 1,
    }
    assert len(progress.warnings) == 4
    assert "1 in a.tar" in next(line for line in progress.warnings if "without caption" in line)
    captions = list(source.captions())
    assert captions[:2] == [("fine",), ("caf\ufffd",)]
    assert len(captions[2][0]) == 2**20


def test_a_large_image_is_left_out_unread(tmp_path, png, write_tar):
    path = write_tar(tmp_path / "a.tar", [("0.png", png(0)), ("0.txt", b"a"), ("1.txt", b"b")])
    info = tarfile.TarInfo("1.png")
    info.size = 2**28 + 1
    with path.open("r+b") as stream:
        stream.seek(by_tarfile(path.read_bytes())[-1][1] + 512)
        stream.write(info.tobuf())
        # A hole, which takes no room on the disk.
        stream.seek(2**28 + 512, os.SEEK_CUR)
        stream.truncate()
    source = open_source(path)
    assert (len(source), dict(source.faults)) == (1, {"image over 256 MiB": 1, "truncated shard": 1})


def test_a_truncated_shard_gives_its_whole_samples(shard, progress):
    offset = next(m[1] for m in by_tarfile(shard.read_bytes()) if m[0] == b"a/00012.png")
    os.truncate(shard, offset + 10)
    source = open_source(shard, progress=progress)
    assert len(source) == 12
    assert source.faults == {"truncated shard": 1}
    assert "whole samples before the cut are used" in progress.warnings[0]
    with pytest.raises(DataError, match=r"truncated shard, first .*s-000.tar at byte"):
        open_source(shard, strict=True)
    os.truncate(shard, 700)
    with pytest.raises(DataError, match="truncated shard"):
        open_source(shard)


def test_a_broken_header_gives_the_samples_before_it(shard):
    offset = next(m[1] for m in by_tarfile(shard.read_bytes()) if m[0] == b"a/00005.png")
    body = bytearray(shard.read_bytes())
    body[offset - 512 + 3] ^= 0xFF
    shard.write_bytes(body)
    source = open_source(shard)
    assert (len(source), dict(source.faults)) == (5, {"damaged shard": 1})


def test_archives_one_after_the_other_are_all_read(tmp_path, png, write_tar):
    first = write_tar(tmp_path / "a", [("0.png", png(0)), ("0.txt", b"a")]).read_bytes()
    second = write_tar(tmp_path / "b", [("1.png", png(1)), ("1.txt", b"b")]).read_bytes()
    (tmp_path / "both.tar").write_bytes(first + second)
    assert list(open_source(tmp_path / "both.tar").captions()) == [("a",), ("b",)]


@pytest.mark.parametrize(
    ("entries", "said", "hint"),
    [
        ([], "holds no samples", "KEY.jpg"),
        ([("0.png", b"x"), ("0.meta", b"y")], r"no captions.*holds? meta \(1\), png \(1\)", "--caption-key"),
        ([("0.txt", b"x"), ("0.raw", b"y")], r"no images.*raw \(1\), txt \(1\)", "--image-key"),
    ],
)
def test_useless_tars_say_what_there_is(tmp_path, write_tar, entries, said, hint):
    with pytest.raises(DataError, match=said) as error:
        open_source(write_tar(tmp_path / "a.tar", entries))
    assert hint in error.value.hint


@pytest.mark.usefixtures("shard")
def test_what_is_no_tar(tmp_path):
    (tmp_path / "empty.tar").write_bytes(b"")
    (tmp_path / "text.tar").write_text("no tar" * 500)
    for name, why in (("empty", "unreadable"), ("text", "unreadable")):
        with pytest.raises(DataError, match=why):
            open_source(tmp_path / f"{name}.tar")
    source = open_source(str(tmp_path / "*.tar"))
    assert (len(source), dict(source.faults)) == (20, {"unreadable shard": 2})
    (tmp_path / "c.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(DataError, match="compressed"):
        open_source(tmp_path / "c.tar.gz")


def test_labels_need_no_captions(tmp_path, png, write_tar):
    entries = [("0.png", png(0)), ("0.cls", b"3"), ("1.png", png(1))]
    path = write_tar(tmp_path / "a.tar", entries)
    for need in ("labels", "any"):
        source = open_source(path, need=need)
        assert (source.labels(), dict(source.faults)) == ([("3",)], {"image without label": 1})
    assert len(open_source(path, need="images")) == 2
    with pytest.raises(DataError, match="captions"):
        open_source(path)


def test_the_index_is_kept_until_the_shard_changes(shard, progress, tmp_path, png, write_tar):
    cache = tmp_path / "cache"
    before = open_source(shard, cache_dir=cache, progress=progress)
    again = open_source(shard, cache_dir=cache, progress=progress)
    assert progress.tasks == ["indexing shards"]
    assert again.fingerprint == before.fingerprint
    (kept,) = (cache / "shards").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    assert len(open_source(shard, cache_dir=cache)) == 20
    write_tar(shard, [("0.png", png(0)), ("0.txt", b"new")])
    changed = open_source(shard, cache_dir=cache)
    assert changed.fingerprint != before.fingerprint
    assert changed[0].captions == ("new",)
    assert not [path for path in shard.parent.iterdir() if path.name not in ("s-000.tar", "cache")]


def test_a_cache_that_cannot_be_written_is_no_obstacle(shard, progress, tmp_path):
    (tmp_path / "file").write_text("")
    assert len(open_source(shard, cache_dir=tmp_path / "file", progress=progress)) == 20
    assert "indexes are not kept" in progress.warnings[0]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_travels_to_other_processes(shard, method):
    source = open_source(shard)
    source[0]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        assert list(pool.map(source.__getitem__, [3, 5, 7])) == [source[3], source[5], source[7]]
    assert pickle.loads(pickle.dumps(source))[5] == source[5]


def test_threads_that_open_a_shard_at_once_all_read(shard):
    source = open_source(shard)
    expected = [source[i] for i in range(20)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(200):
            storage.close_files()
            assert list(pool.map(source.__getitem__, range(20))) == expected


def test_what_a_shard_lost_since_it_was_indexed_is_no_image(shard):
    source = open_source(shard)
    os.truncate(shard, 100)
    assert source[3].image is None


def test_remote_shards_are_read_by_ranges(shard, png):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/x-000.tar", shard.read_bytes())
    for spec in ("memory://bucket/x-000.tar", "memory://bucket/x-{000..000}.tar", "memory://bucket/*.tar"):
        source = open_source(spec)
        assert source[7] == ("a/00007", png(7), ("caption 7",), None)
        assert list(source.captions()) == [(f"caption {n}",) for n in range(20)]
    assert len(open_source(f"file://{shard}")) == 20
    with pytest.raises(DataError, match="cannot be opened"):
        open_source("memory://bucket/none.tar")


def test_file_handles_stay_bounded(tmp_path, png, write_tar):
    for number in range(200):
        write_tar(tmp_path / f"{number:03d}.tar", [("0.png", png(number)), ("0.txt", b"a")])
    source = open_source(tmp_path)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert [source[i].image for i in range(200)] == [png(i) for i in range(200)]
    if before:
        assert len(os.listdir("/proc/self/fd")) - before <= 128


def test_look_at_tells_what_changes(shard):
    file = look_at(str(shard))
    assert (file.size, file.path) == (shard.stat().st_size, str(shard))
