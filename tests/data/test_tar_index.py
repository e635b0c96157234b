"""The index of tars: small, mapped, made once, and exact however members stand."""

import io
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from catlipctl.data import open_source
from catlipctl.data.sources.storage import File, look_at
from catlipctl.data.sources.tars import TarSource
from catlipctl.data.sources.tars.index_file import alone, read_index
from catlipctl.errors import MachineError
from catlipctl.progress import Silent

_NAMES = st.sampled_from(["a.jpg", "a.txt", "a.cls", "a.json", "b.jpg", "b.txt", "b.cls", "c.jpg", "c.txt"])
_STRAYS = st.sampled_from([".hidden", "__meta__/a.txt", "none", "long/" + "x" * 200 + ".jpg", "é.txt"])
_BODIES = st.one_of(st.binary(max_size=40), st.binary(min_size=1000, max_size=1200), st.just(b""))
_FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def packed(entries: list[tuple[str, bytes]], format: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format, encoding="utf-8") as tar:
        for name, body in entries:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            # A time with a fraction has a PAX header of its own, as webdataset's writer makes them.
            info.mtime = 1.5 if body[:1] < b"\x80" else 1
            try:
                tar.addfile(info, io.BytesIO(body))
            except ValueError:  # a name too long for ustar
                continue
    return stream.getvalue()


def by_tarfile(archive: bytes) -> list[tuple[str, dict[str, bytes]]]:
    """Samples by tarfile and webdataset's rule for names; an extension met again starts a new one."""
    tariterators = pytest.importorskip("webdataset.tariterators")
    samples: list[tuple[str, dict[str, bytes]]] = []
    latest: dict[str, dict[str, bytes]] = {}
    with tarfile.open(fileobj=io.BytesIO(archive), encoding="utf-8") as tar:
        for member in tar:
            key, extension = tariterators.base_plus_ext(member.name)
            if key is None or key.startswith("__meta__"):
                continue
            if key not in latest or extension in latest[key]:
                latest[key] = {}
                samples.append((key, latest[key]))
            latest[key][extension] = tar.extractfile(member).read()
    return samples


@given(st.lists(st.tuples(st.one_of(_NAMES, _NAMES, _NAMES, _STRAYS), _BODIES), max_size=14), _FORMATS)
@example([("a.jpg", b"1"), ("b.jpg", b"2"), ("b.txt", b"b"), ("a.txt", b"a")], tarfile.USTAR_FORMAT)
@example([("a.jpg", b"1"), ("a.txt", b"x"), ("a.jpg", b"2"), ("a.txt", b"y")], tarfile.PAX_FORMAT)
@example([("a.cls", b"7"), (".hidden", b"z"), ("a.jpg", b"2"), ("a.txt", b"y")], tarfile.GNU_FORMAT)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_samples_are_those_of_tarfile_in_any_order_of_members(tmp_path, entries, format):
    archive = packed(entries, format)
    path = tmp_path / "a.tar"
    path.write_bytes(archive)
    wanted = [(key, found) for key, found in by_tarfile(archive) if found.get("jpg") and found.get("txt")]
    if not wanted:
        return
    source = TarSource("a", [look_at(str(path))], cache=None)
    texts = [found["txt"].decode(errors="replace").strip() for _, found in wanted]
    said = [found.get("cls", b"").decode(errors="replace").strip() for _, found in wanted]
    labels = [(text,) if text else None for text in said]
    samples = [source[number] for number in range(len(source))]
    assert [sample.key for sample in samples] == [key for key, _ in wanted]
    assert [sample.image for sample in samples] == [found["jpg"] for _, found in wanted]
    assert [sample.captions for sample in samples] == [(text,) for text in texts]
    assert [sample.labels for sample in samples] == labels
    assert list(source.captions()) == [(text,) for text in texts]
    assert source.labels() == labels


def write_shards(folder: Path, write_tar, shards: int, samples: int, lacking: int = 0) -> None:
    """Shards of samples, of which every so-manieth lacks its caption."""
    folder.mkdir(exist_ok=True)
    for shard in range(shards):
        entries = []
        for number in range(samples):
            key = f"{shard}-{number:05d}"
            entries.append((f"{key}.jpg", key.encode()))
            if not lacking or number % lacking:
                entries.append((f"{key}.txt", f"text {key}".encode()))
        write_tar(folder / f"{shard:03d}.tar", entries, format=tarfile.USTAR_FORMAT)


def test_an_index_is_small_mapped_and_read_only(tmp_path, write_tar):
    write_shards(tmp_path / "data", write_tar, shards=3, samples=2000)
    cache = tmp_path / "cache"
    files = [look_at(str(path)) for path in sorted((tmp_path / "data").iterdir())]
    source = TarSource("data", files, cache=cache)
    sizes = sorted(path.stat().st_size for path in (cache / "shards").iterdir())
    # One a shard, and one of all, which alone is mapped.
    assert len(sizes) == 4
    assert sizes[-1] <= 16 * 6000
    assert sizes[0] <= 16 * 2000
    index = read_index(files, cache)
    arrays = [index.entries, index.pieces, index.shards, index.local, index.census]
    assert all(isinstance(array, np.memmap) and not array.flags.writeable for array in arrays if array.size)
    # Nothing of a sample travels to another process, or stays in this one beside the file.
    assert len(pickle.dumps(source)) < 4000
    assert pickle.loads(pickle.dumps(source))[4321] == source[4321]
    assert source[4321].captions == ("text 2-00321",)


def test_members_far_apart_cost_a_place_each_and_one_read(tmp_path, write_tar, monkeypatch):
    kinds = [("jpg", b"x" * 3000), ("txt", b"a"), ("json", b"{}")]
    entries = [(f"{number}.{extension}", body) for extension, body in kinds for number in range(100)]
    apart = look_at(str(write_tar(tmp_path / "apart.tar", entries)))
    entries.sort()
    side_by_side = look_at(str(write_tar(tmp_path / "side.tar", entries)))
    assert len(read_index([apart], None).pieces) == 100 * (1 + 3)
    assert len(read_index([side_by_side], None).pieces) == 0
    asked = []
    read_many = File.read_many
    sources = [TarSource("a", [file], cache=None) for file in (apart, side_by_side)]
    monkeypatch.setattr(
        File, "read_many", lambda self, at, sizes: asked.append(sum(sizes)) or read_many(self, at, sizes)
    )
    for source in sources:
        assert (source[50].image, source[50].captions) == (b"x" * 3000, ("a",))
    # Once a sample, and neither has others' bytes.
    assert len(asked) == 4
    assert max(asked) < 8000


@pytest.mark.parametrize("lacking", [0, 7, 2500])
def test_samples_left_out_leave_the_others_where_they_are(tmp_path, write_tar, lacking):
    write_shards(tmp_path / "data", write_tar, shards=2, samples=2600, lacking=lacking)
    source = open_source(tmp_path / "data", cache_dir=tmp_path / "cache")
    there = [n for n in range(2600) if not lacking or n % lacking]
    keys = [f"{shard}-{number:05d}" for shard in range(2) for number in there]
    assert source.shard_sizes == [len(there)] * 2
    assert list(source.captions()) == [(f"text {key}",) for key in keys]
    for number in [0, 1, 1023, 1024, 2047, len(there) - 1, len(there), len(keys) - 1]:
        assert source[number].key == keys[number]


class _Tasks(Silent):
    """Keeps what work there was."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def task(self, description, total=None, unit="it", done=0):
        self.names.append(description)
        return super().task(description, total, unit, done)


def _open(folder: str, cache: str, barrier) -> list[str]:
    told = _Tasks()
    barrier.wait()
    assert len(open_source(folder, cache_dir=Path(cache), progress=told)) == 800
    return told.names


def test_processes_that_open_a_source_at_once_index_it_once(tmp_path, write_tar):
    write_shards(tmp_path / "data", write_tar, shards=8, samples=100)
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager, ProcessPoolExecutor(3, mp_context=context) as pool:
        barrier = manager.Barrier(3)
        opened = [
            pool.submit(_open, str(tmp_path / "data"), str(tmp_path / "cache"), barrier) for _ in range(3)
        ]
        assert sorted(future.result() for future in opened) == [[], [], ["indexing shards"]]
    assert not list((tmp_path / "cache" / "shards").glob("*.lock"))


def test_after_a_kill_the_shards_that_were_done_are_done(tmp_path, write_tar):
    write_shards(tmp_path / "data", write_tar, shards=40, samples=300)
    cache = tmp_path / "cache"
    program = "import sys, pathlib; from catlipctl.data import open_source as f; "
    program += "f(sys.argv[1], cache_dir=pathlib.Path(sys.argv[2]))"
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "data"), str(cache)])
    end = time.monotonic() + 120
    while len(list(cache.glob("shards/*.index"))) < 3 and time.monotonic() < end:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in cache.glob("shards/*.index")}
    assert 3 <= len(before) <= 40
    assert len(open_source(tmp_path / "data", cache_dir=cache)) == 40 * 300
    after = {path: path.stat().st_mtime_ns for path in cache.glob("shards/*.index")}
    assert len(after) == 41
    assert {path: after[path] for path in before} == before


def test_without_a_cache_nothing_is_written(tmp_path, write_tar):
    write_shards(tmp_path / "data", write_tar, shards=1, samples=5)
    (file,) = (tmp_path / "data").iterdir()
    assert TarSource("a", [look_at(str(file))], cache=None)[4].key == "0-00004"
    assert list(tmp_path.iterdir()) == [tmp_path / "data"]


def test_an_index_that_is_gone_is_told_to_who_comes_later(tmp_path, write_tar):
    write_shards(tmp_path / "data", write_tar, shards=1, samples=5)
    source = open_source(tmp_path / "data", cache_dir=tmp_path / "cache")
    sent = pickle.dumps(source)
    for path in (tmp_path / "cache" / "shards").iterdir():
        path.unlink()
    assert source[4].key == "0-00004"
    with pytest.raises(MachineError, match="the cache folder was emptied"):
        pickle.loads(sent)


def test_a_worker_that_is_forked_while_an_index_is_made_holds_up_nobody(
    tmp_path: Path,
) -> None:
    begun, end, waits, taken = (threading.Event() for _ in range(4))

    class Heard(Silent):
        def note(self, text: str) -> None:  # noqa: ARG002
            waits.set()

    def make() -> None:
        with alone(tmp_path / "a.index", Silent()):
            begun.set()
            end.wait()

    def wait() -> None:
        with alone(tmp_path / "a.index", Heard()):
            taken.set()

    maker, waiter = threading.Thread(target=make), threading.Thread(target=wait, daemon=True)
    maker.start()
    begun.wait()
    waiter.start()
    waits.wait()
    time.sleep(0.2)  # it says so just before it waits
    worker = os.fork()
    if worker == 0:
        time.sleep(60)
        os._exit(0)
    try:
        end.set()
        assert taken.wait(20)
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
