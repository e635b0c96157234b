"""Counting shards: the same bytes whatever counts them, and nothing counted twice."""

import io
import os
import random
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catlipctl import data, labels, vocabulary
from catlipctl.data.caption_shards import caption_shards
from catlipctl.data.sample import Source
from catlipctl.errors import DataError, MachineError, OutOfMemory
from catlipctl.labels import wordnet
from catlipctl.vocabulary import count_shards, pruned
from catlipctl.vocabulary.counting import Meter, Tally, count_source


@pytest.fixture(scope="session")
def texts() -> list[list[str]]:
    """The captions of twelve shards."""
    words = [word for word in wordnet.nouns().words() if word.isalpha()]
    draw = random.Random(0)
    common = draw.sample(words, 400)
    return [[" ".join(draw.choices(common, k=6)) for _ in range(1500)] for _ in range(12)]


@pytest.fixture
def folder(texts: list[list[str]], tmp_path: Path) -> Path:
    shards = tmp_path / "shards"
    shards.mkdir()
    for number, captions in enumerate(texts):
        pq.write_table(pa.table({"caption": captions}), shards / f"{number:05d}.parquet")
    return shards


@pytest.fixture
def counted(tmp_path: Path) -> Callable[..., Tally]:
    """Counts a SOURCE with a cache of the test's own."""

    def run(*specs: object, cache: str = "cache", extractor: str = "corenet", **options: object) -> Tally:
        shards = caption_shards([str(spec) for spec in specs], cache_dir=tmp_path / cache)
        return count_shards(shards, extractor, cache_dir=tmp_path / cache, **options)  # type: ignore[arg-type]

    return run


def text_of(tally: Tally) -> str:
    return pruned(tally.counts, extractor="corenet", source="x", threshold=0).to_text()


def test_equal_to_counting_by_hand(
    folder: Path, texts: list[list[str]], counted: Callable[..., Tally], source_of: Callable[..., Source]
) -> None:
    extract = labels.extractor()
    keys = [extract(text) for shard in texts for text in shard]
    tally = counted(folder, workers=1)
    assert tally.counts.occurrences == Counter(key for row in keys for key in row)
    assert tally.counts.by_caption() == Counter(key for row in keys for key in set(row))
    assert (tally.counts.captions, tally.captions, tally.counted, tally.kept) == (18_000, 18_000, 12, 0)
    at_once = vocabulary.build(source_of([(text,) for shard in texts for text in shard]), threshold=3)
    by_shard = pruned(tally.counts, extractor="corenet", source="captions", threshold=3)
    assert by_shard == at_once
    by_caption = pruned(tally.counts, extractor="corenet", source="", threshold=3, count="captions")
    assert sum(by_caption.counts) < sum(by_shard.counts)


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same(folder: Path, counted: Callable[..., Tally]) -> None:
    # Two are those of the builds that are killed, below.
    texts = {text_of(counted(folder, workers=n, cache=f"cache{n}")) for n in (1, 4)}
    assert len(texts) == 1
    parts = [str(path) for path in sorted(folder.iterdir(), reverse=True)]
    assert {text_of(counted(*parts, workers=1, cache="other"))} == texts


@pytest.mark.slow
def test_ray_gives_the_same(folder: Path, counted: Callable[..., Tally]) -> None:
    pytest.importorskip("ray")
    here = counted(folder, workers=1)
    there = counted(folder, workers=2, engine="ray", cache="ray")
    assert text_of(there) == text_of(here)
    assert there.counted == 12
    assert counted(folder, workers=1, cache="ray").kept == 12


def test_without_ray_the_command_that_brings_it(
    folder: Path, counted: Callable[..., Tally], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MachineError) as error:
        counted(folder, engine="ray")
    assert error.value.hint == "pip install 'catlipctl[ray]'"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_a_cluster_that_does_not_answer(
    address: str, folder: Path, counted: Callable[..., Tally], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(MachineError, match=f"answers at RAY_ADDRESS={address}"):
        counted(folder, engine="ray")


def test_shards_are_counted_once(folder: Path, tmp_path: Path, counted: Callable[..., Tally]) -> None:
    first = counted(folder, workers=1)
    again = counted(folder, workers=1)
    assert (again.counted, again.kept) == (0, 12)
    assert again.counts == first.counts

    pq.write_table(pa.table({"caption": ["a new dog"]}), folder / "new.parquet")
    more = counted(folder, workers=1)
    assert (more.counted, more.kept, more.captions) == (1, 12, 1)
    assert more.counts.captions == first.counts.captions + 1

    sidecars = sorted((tmp_path / "cache" / "counts").rglob("*.gz"))
    assert len(sidecars) == 13
    sidecars[0].write_bytes(sidecars[0].read_bytes()[:100])
    sidecars[1].write_bytes(b"")
    mended = counted(folder, workers=1)
    assert (mended.counted, mended.kept) == (2, 11)
    assert mended.counts == more.counts

    pq.write_table(pa.table({"caption": ["another"]}), folder / "new.parquet")
    assert counted(folder, workers=1).counted == 1
    assert counted(folder, workers=1, extractor="subword").counted == 13


def test_a_source_is_counted_once_until_its_files_change(texts: list[list[str]], tmp_path: Path) -> None:
    file, cache = tmp_path / "pairs.parquet", tmp_path / "cache"
    captions = texts[0][:50]
    pq.write_table(pa.table({"caption": captions, "image": [b"none"] * 50}), file)

    def counts(extractor: str = "corenet") -> tuple[Counter[str], list[str]]:
        source = data.open_source(str(file), cache_dir=cache)
        found = count_source(source, extractor, cache).occurrences
        return found, sorted(path.name for path in (cache / "counts").rglob("*.json.gz"))

    first, kept = counts()
    assert first == Counter(key for text in captions for key in labels.extractor("corenet")(text))
    (sidecar,) = (cache / "counts").rglob("*.json.gz")
    before = sidecar.stat().st_mtime_ns
    assert counts() == (first, kept)
    assert sidecar.stat().st_mtime_ns == before
    assert len(counts("subword")[1]) == 2
    os.utime(file, (1, 1))
    assert len(counts()[1]) == 3


def test_a_damaged_shard_is_counted_or_with_strict_refused(
    folder: Path, counted: Callable[..., Tally]
) -> None:
    path = folder / "00003.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    for counted_now in (12, 1):  # tried again: what cannot be read now may be read later
        tally = counted(folder, workers=1)
        assert (tally.counted, tally.counts.faults["unreadable shard"]) == (counted_now, 1)
    made = pruned(tally.counts, extractor="corenet", source="x", threshold=0)
    assert made.faults == {"unreadable shard": 1}
    assert vocabulary.parse(made.to_text()) == made
    with pytest.raises(DataError, match=r"1 unreadable shard, first .*00003\.parquet"):
        counted(folder, workers=1, strict=True)


def test_no_captions_at_all(tmp_path: Path, counted: Callable[..., Tally]) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar")
    with pytest.raises(DataError, match="no captions in 1 shard: 1 unreadable shard"):
        counted(tmp_path / "a.tar")
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        for name, body in (("0.jpg", b"image"), ("0.json", b'{"said": "a dog"}')):
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    with pytest.raises(DataError, match=r"has no json:caption: .* are said \(1\)"):
        counted(tmp_path / "b.tar")
    pq.write_table(pa.table({"caption": ["", None]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="empty caption"):
        counted(tmp_path / "a.parquet")


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    folder: Path, tmp_path: Path, counted: Callable[..., Tally]
) -> None:
    (tmp_path / "file").write_text("")
    assert counted(folder, workers=1, cache="file").counts.captions == 18_000


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "resource_tracker" not in " ".join(p.cmdline())]


@pytest.mark.slow
def test_a_worker_that_is_killed(folder: Path, tmp_path: Path, counted: Callable[..., Tally]) -> None:
    os.mkfifo(folder.parent / "endless.tar")  # whoever opens it waits for ever
    errors: list[Exception] = []

    def count() -> None:
        try:
            counted(folder, folder.parent / "endless.tar", workers=2)
        except Exception as error:
            errors.append(error)

    before = {process.pid for process in children()}
    thread = threading.Thread(target=count)
    thread.start()
    while len(list((tmp_path / "cache").rglob("*.gz"))) < 12:
        time.sleep(0.05)
    workers = [process for process in children() if process.pid not in before]
    workers[0].kill()
    thread.join(30)
    (error,) = errors
    assert isinstance(error, OutOfMemory)
    assert "go on" in error.hint
    assert not psutil.wait_procs(workers, 10)[1]
    assert counted(folder, workers=1).kept == 12


@pytest.mark.slow
def test_killed_at_three_random_moments_it_ends_in_the_same_bytes(
    folder: Path, texts: list[list[str]], tmp_path: Path, counted: Callable[..., Tally]
) -> None:
    for number, captions in enumerate(texts):  # with words that are met once, which take long
        slow = [f"{text} {number}x{n} {number}y{n} {number}z{n}" for n, text in enumerate(captions[:600])]
        pq.write_table(pa.table({"caption": slow}), folder / f"{number:05d}.parquet")
    build = [sys.executable, "-m", "catlipctl.cli.main", "vocab", "build", str(folder)]
    build += ["--threshold", "0", "--workers", "2", "--cache-dir", str(tmp_path / "killed")]
    build += ["--out", str(tmp_path / "v.json")]

    def kept() -> int:
        return len(list((tmp_path / "killed").rglob("*.gz")))

    draw = random.Random(1)
    for least in (1, 4, 7):
        main = subprocess.Popen(build, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while kept() < least:
            assert main.poll() is None, "it ended before it could be killed"
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.05))
        workers = psutil.Process(main.pid).children(recursive=True)
        main.kill()
        assert main.wait() == -9
        assert not psutil.wait_procs(workers, 10)[1], "workers outlive the main process"
    before = kept()
    assert 7 <= before < 12
    last = counted(folder, workers=1, cache="killed")
    assert (last.kept, last.counted) == (before, 12 - before)
    assert text_of(last) == text_of(counted(folder, workers=1))


class Recorded:
    """A task that remembers."""

    done, totals = 0, list[int]()

    def advance(self, amount: int = 1, **fields: float | str) -> None:
        self.done += amount
        self.shards = fields["shards"]

    def expect(self, total: int) -> None:
        self.totals = [*self.totals, total]


def test_the_total_is_guessed_from_the_bytes_of_finished_shards() -> None:
    task, shards = Recorded(), [SimpleNamespace(size=size) for size in (100, 300)]
    meter = Meter(task, shards)  # type: ignore[arg-type]
    meter.tick(30)
    assert (task.done, task.shards, task.totals) == (30, "0/2", [])
    meter.tick(20)
    meter.finish(shards[0], 40)  # type: ignore[arg-type]
    assert (task.done, task.shards, task.totals) == (50, "1/2", [160])
    meter.tick(100)
    meter.finish(shards[1], 110)  # type: ignore[arg-type]
    assert (task.done, task.shards, task.totals) == (150, "2/2", [160, 150])


def test_an_engine_that_cannot_tell_is_known_by_its_finished_shards() -> None:
    task, shards = Recorded(), [SimpleNamespace(size=0) for _ in range(2)]
    meter: Any = Meter(task, shards)  # type: ignore[arg-type]
    meter.finish(shards[0], 7)
    meter.finish(shards[1], 5)
    assert (task.done, task.totals) == (12, [12])


@pytest.mark.slow
def test_a_signal_to_every_process_of_a_count_is_answered_by_the_main_one_alone(
    folder: Path, tmp_path: Path, living: Any
) -> None:
    os.mkfifo(folder / "endless.tar")  # whoever opens it waits for ever
    build = [sys.executable, "-m", "catlipctl.cli.main", "vocab", "build"]
    build += [str(folder), str(folder / "endless.tar"), "--threshold", "0", "--workers", "2"]
    build += ["--cache-dir", str(tmp_path / "cache"), "--out", str(tmp_path / "v.json")]
    main = subprocess.Popen(build, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while len(list((tmp_path / "cache").rglob("*.gz"))) < 12:
        assert main.poll() is None, "it ended before it could be stopped"
        time.sleep(0.01)
    everyone = psutil.Process(main.pid).children(recursive=True)
    for process in everyone:
        process.terminate()
    time.sleep(0.5)  # time enough to die of it
    assert main.poll() is None
    assert all(process.is_running() for process in everyone)
    main.terminate()
    _, err = main.communicate(timeout=60)
    assert main.returncode == 75, err
    assert "the counts of 12 of 13 shards are kept" in err
    assert "error: stopped by SIGTERM" in err
    assert not living(everyone, 2)
