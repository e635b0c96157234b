"""Reads: what the machine does wrong is tried again, then told with its address; it changes no sample."""

import errno
import io
import os
import pickle
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from catlipctl.data import open_source
from catlipctl.data.caption_shards import caption_shards
from catlipctl.data.sources import storage
from catlipctl.data.sources.faults import Faults
from catlipctl.data.sources.storage import ReadFailed, look_at, retrying
from catlipctl.data.workers import ahead
from catlipctl.errors import DataError, MachineError

FAILURES = [errno.EIO, errno.ESTALE, errno.EACCES, errno.ETIMEDOUT, errno.ECONNRESET]


class Disk:
    """The reads of this process, the next few of which fail."""

    def __init__(self) -> None:
        self.failures = 0
        self.errno = errno.EIO
        self.reads = 0
        self._pread = os.pread

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        self.reads += 1
        if self.failures:
            self.failures -= 1
            raise OSError(self.errno, os.strerror(self.errno))
        return self._pread(descriptor, size, offset)


@pytest.fixture
def disk(monkeypatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(os, "pread", disk.pread)
    monkeypatch.setattr(retrying, "PAUSES", (0.0, 0.0, 0.0))
    return disk


@pytest.fixture
def tar(tmp_path, png, write_tar) -> Path:
    entries = [(f"{n}.{e}", b) for n in range(6) for e, b in (("png", png(n)), ("txt", b"caption %d" % n))]
    return write_tar(tmp_path / "a.tar", entries)


@pytest.fixture
def sources(tmp_path, tar, png):
    """A source of each kind that reads files itself, and the file that its sample 2 is in."""
    (tmp_path / "images" / "cat").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "images" / "cat" / f"{number}.png").write_bytes(png(number))
    paths = [f"images/cat/{number}.png" for number in range(3)]
    listed = "".join(f"{path},a\n" for path in paths)
    (tmp_path / "a.csv").write_text(f"filepath,title\n{listed}")
    pq.write_table(pa.table({"path": paths, "caption": ["a"] * 3}), tmp_path / "a.parquet")
    image = tmp_path / paths[2]
    return [
        (open_source(tar), tar),
        (open_source(tmp_path / "images", need="labels"), image),
        (open_source(tmp_path / "a.csv"), image),
        (open_source(tmp_path / "a.parquet"), image),
    ]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_read_that_fails_once_changes_nothing(sources, disk, failure):
    disk.errno = failure
    for source, _ in sources:
        expected = source[2]
        assert expected.image
        disk.failures = 1
        assert source[2] == expected
        assert disk.failures == 0


@pytest.mark.parametrize("failure", FAILURES)
def test_a_read_that_always_fails_stops_with_its_address(sources, disk, failure):
    disk.errno = failure
    for source, path in sources:
        disk.failures, disk.reads = 10**6, 0
        with pytest.raises(ReadFailed) as error:
            source[2]
        assert disk.reads == 4
        assert f"{path} cannot be read: {os.strerror(failure)}" in error.value.message
        assert isinstance(error.value, MachineError)
        assert not isinstance(error.value, DataError), "who replaces what a sample is must not catch it"
        assert error.value.exit_code == 3
    disk.failures = 10**6
    with pytest.raises(ReadFailed, match=r"^sample 2 of .*a\.tar cannot"):
        sources[0][0][2]


@pytest.mark.parametrize("workers", [0, 1])
def test_workers_carry_the_error_out_as_it_is(tar, disk, workers):
    source = open_source(tar)
    disk.failures = 10**6
    with pytest.raises(ReadFailed) as error:
        list(ahead(source.__getitem__, range(6), workers=workers))
    assert error.value.message.startswith(f"sample 0 of {tar}")
    assert "check the disk" in error.value.hint
    again = pickle.loads(pickle.dumps(error.value))
    assert (again.message, again.hint) == (error.value.message, error.value.hint)


def test_a_disk_that_really_fails(tmp_path, monkeypatch):
    if not os.path.exists("/proc/self/mem"):
        pytest.skip("needs Linux, where the first page of memory cannot be read")
    monkeypatch.setattr(retrying, "PAUSES", (0.0,))
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "0.png").symlink_to("/proc/self/mem")
    with pytest.raises(ReadFailed, match=r"cat/0\.png cannot be read: Input/output error"):
        open_source(tmp_path, need="labels")[0]


def test_a_shard_is_indexed_whole_or_not_at_all(tar, disk, tmp_path):
    disk.failures = 1
    assert len(open_source(tar, cache_dir=tmp_path / "one")) == 6
    disk.failures = 10**6
    with pytest.raises(ReadFailed, match=r"a\.tar cannot be read"):
        open_source(tar, cache_dir=tmp_path / "two")
    disk.failures = 0
    assert len(open_source(tar, cache_dir=tmp_path / "two")) == 6


def test_a_shard_that_is_gone_is_no_missing_image(tar):
    source = open_source(tar)
    storage.close_files()
    tar.unlink()
    with pytest.raises(ReadFailed, match="No such file"):
        source[2]


def test_what_is_not_there_is_not_waited_for(sources, disk, monkeypatch):
    monkeypatch.setattr(retrying.time, "sleep", None)
    for source, path in sources[1:]:
        path.unlink(missing_ok=True)
        assert source[2].image is None
    listing = Path(sources[2][0].name)
    listing.write_text(f"filepath,title\nimages/cat/0.png,a\n{'x' * 5000},too long\na\0b,no path\n")
    source = open_source(listing)
    assert [source[i].image is None for i in range(3)] == [False, True, True]
    assert disk.failures == 0


def test_captions_alone_are_tried_again_too(sources, disk, tmp_path):
    (tmp_path / "b.csv").write_text("title\na\n")
    for path in (sources[0][1], tmp_path / "a.csv", tmp_path / "a.parquet", tmp_path / "b.csv"):
        (shard,) = caption_shards([path], cache_dir=tmp_path / "cache")
        expected = list(shard.read(Faults()))
        found = Faults()
        disk.failures = 1
        assert list(shard.read(found)) == expected
        assert not found
        disk.failures = 10**6
        assert list(shard.read(found)) == []
        assert found.counts() == {"unreadable shard": 1}
        assert f"{path} cannot be read: Input/output error" in found.examples()["unreadable shard"]
        disk.failures = 0


def test_a_server_that_fails(tar, monkeypatch):
    class ClientError(Exception):
        """As aiohttp's: no OSError."""

    fsspec.filesystem("memory").pipe("/unsteady/a.tar", tar.read_bytes())
    source = open_source("memory://unsteady/a.tar")
    expected, cat_file, failures = source[2], MemoryFileSystem.cat_file, [ClientError("503")]

    def fail(self, *arguments, **options):
        if failures:
            raise failures.pop()
        return cat_file(self, *arguments, **options)

    monkeypatch.setattr(retrying, "PAUSES", (0.0,))
    monkeypatch.setattr(MemoryFileSystem, "cat_file", fail)
    assert source[2] == expected
    failures[:] = [TimeoutError(), ClientError("503")]
    with pytest.raises(
        ReadFailed, match=r"sample 2 of memory://unsteady/a\.tar cannot be read: TimeoutError"
    ):
        source[2]


@given(
    body=st.binary(max_size=300_000).map(lambda part: part * 3),
    moves=st.lists(st.tuples(st.integers(0, 400_000), st.integers(-1, 200_000)), max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_a_stream_reads_as_one_of_bytes(tmp_path_factory, body, moves):
    path = tmp_path_factory.mktemp("stream") / "a"
    path.write_bytes(body)
    fsspec.filesystem("memory").pipe("/stream/a", body)
    for name in (str(path), "memory://stream/a"):
        with look_at(name).open() as ours:
            theirs = io.BytesIO(body)
            for offset, size in moves:
                assert ours.seek(offset) == theirs.seek(offset)
                assert ours.read(size) == theirs.read(size)
                assert ours.tell() == theirs.tell()
            assert ours.seek(0, os.SEEK_END) == len(body)
