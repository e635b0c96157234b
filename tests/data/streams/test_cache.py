"""The cache of shards: one download for all processes, within its bound, whatever is killed."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from catlipctl.data.sources.storage import File, ReadFailed, look_at, retries
from catlipctl.data.sources.streams import cache, locks
from catlipctl.data.sources.streams.cache import ShardCache

SIZE = 25 * 4096
FETCH = """
import sys
from pathlib import Path
from catlipctl.data.sources.storage import look_at
from catlipctl.data.sources.streams import cache, locks
cache.PIECE = 5000
room = cache.ShardCache(Path(sys.argv[1]), 10**9)
print("ready", flush=True)
sys.stdin.readline()
for url in sys.argv[2:]:
    print(room.fetch(look_at(url)).path, flush=True)
"""


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Four files of random bytes, of whole blocks of a disk."""
    (tmp_path / "shards").mkdir()
    paths = [tmp_path / "shards" / f"{number}.tar" for number in range(4)]
    for path in paths:
        path.write_bytes(os.urandom(SIZE))
    return paths


def taken(folder: Path) -> int:
    """Bytes of the disk that shards have, those that are coming included."""
    found = 0
    for path in folder.glob("*/shard.tar"):
        with contextlib.suppress(FileNotFoundError):
            found += path.stat().st_blocks * 512
    return found


def fetching(folder: Path, *urls: str) -> subprocess.Popen[str]:
    """Another process that is ready to fetch."""
    process = subprocess.Popen(
        [sys.executable, "-c", FETCH, str(folder), *urls],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_processes_share_one_download(shards, serve, tmp_path):
    requests: list[tuple[str, int]] = []
    url = serve(tmp_path / "shards", delays=1, requests=requests, numbers=count(1))
    urls = [f"{url}/{path.name}" for path in shards[:2]]
    processes = [fetching(tmp_path / "c", *order) for order in (urls, urls[::-1])]
    said = [process.communicate("\n", timeout=60)[0].split() for process in processes]
    assert said[0] == said[1][::-1]
    assert [Path(path).read_bytes() for path in said[0]] == [path.read_bytes() for path in shards[:2]]
    assert len(requests) == len(set(requests)) == 2 * -(-SIZE // 5000), "each piece once, for both"


def test_a_downloader_that_is_killed_leaves_nothing_to_wait_for(shards, serve, tmp_path):
    url = f"{serve(tmp_path / 'shards', delays=1)}/0.tar"
    first = fetching(tmp_path / "c", url)
    assert first.stdin is not None
    first.stdin.write("\n")
    while not list((tmp_path / "c").glob("*.lock")):
        time.sleep(0.01)
    second = fetching(tmp_path / "c", url)
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.communicate()
    begun = time.monotonic()
    path = second.communicate("\n", timeout=60)[0].strip()
    assert Path(path).read_bytes() == shards[0].read_bytes()
    assert time.monotonic() - begun < locks.DEAD / 4, "nobody waits until the lock is stale"
    assert taken(tmp_path / "c") == SIZE
    assert not list((tmp_path / "c").glob("*.lock"))


def test_a_lock_of_another_machine_is_taken_over_when_nobody_touches_it(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "DEAD", 0.3)
    room, file = ShardCache(tmp_path / "c", 10**9), look_at(str(shards[0]))
    room.folder.mkdir()
    lock = room.folder / f"{room.place(file).name}.lock"
    lock.write_text("1 elsewhere")
    begun = time.monotonic()
    assert room.fetch(file).read(0, SIZE) == shards[0].read_bytes()
    assert time.monotonic() - begun >= 0.3
    # Of one that hands in its shard meanwhile, the shard is taken.
    file = look_at(str(shards[1]))
    (room.folder / f"{room.place(file).name}.lock").write_text("1 elsewhere")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(room.fetch, file)
        time.sleep(0.1)
        room.place(file).mkdir()
        (room.place(file) / "shard.tar").write_bytes(b"as the other one left it")
        assert waiting.result().path == str(room.place(file) / "shard.tar")


def test_the_bound_holds_and_what_is_needed_stays(shards, tmp_path):
    room = ShardCache(tmp_path / "c", 2 * SIZE + 1)
    files = [look_at(str(path)) for path in shards]
    largest = 0

    def watched(_: int) -> None:
        nonlocal largest
        largest = max(largest, taken(room.folder))

    room.fetch(files[0], watched)
    room.fetch(files[1], watched)
    assert not room.fetch_ahead(files[2], watched), "both are needed: they were touched a moment ago"
    room.release(files[1], soon=-1)
    assert room.fetch_ahead(files[2], watched)
    assert [room.has(file) for file in files] == [True, False, True, False]
    # Who must have one drops another, the one that was touched first.
    room.touch(files[0])
    room.fetch(files[3], watched)
    assert [room.has(file) for file in files] == [True, False, False, True]
    assert largest == taken(room.folder) == 2 * SIZE
    # Many at once do not exceed it either, and all are served.
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: room.fetch(files[number % 4], watched), range(24)))
    assert largest == 2 * SIZE
    # What a kill has left is cleared away when it is old.
    left = room.folder / ".left-over"
    left.mkdir()
    (left / "shard.tar").write_bytes(bytes(SIZE))
    os.utime(left / "shard.tar", (1, 1))
    missing = next(file for file in files if not room.has(file))
    room.fetch(missing)
    assert not left.exists()


@pytest.mark.usefixtures("shards")
def test_a_failure_is_told_to_those_who_waited(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "PAUSES", (0.5,))
    url = serve(tmp_path / "shards")
    room, file = ShardCache(tmp_path / "c", 10**9), look_at(f"{url}/0.tar")
    serve.stop(url)
    with ThreadPoolExecutor(4) as pool:
        begun = time.monotonic()
        for waiting in [pool.submit(room.fetch, file) for _ in range(4)]:
            with pytest.raises(ReadFailed, match=rf"{url}/0\.tar cannot be read"):
                waiting.result()
        assert time.monotonic() - begun < 4 * 0.5, "one has tried, not each after the other"
    assert taken(room.folder) == 0
    tried = retries()
    with pytest.raises(ReadFailed, match=rf"{url}/0\.tar cannot be read"):
        room.fetch(file)
    assert retries() == tried, "whoever comes soon after has heard of it, too"
    monkeypatch.setattr(locks, "_BEGUN", time.time())
    with pytest.raises(ReadFailed):
        room.fetch(file)
    assert retries() == tried + 1, "whoever has begun since tries for himself"


def test_a_server_without_ranges_gives_whole_files(shards, serve, tmp_path):
    room = ShardCache(tmp_path / "c", 10**9)
    file = look_at(f"{serve(tmp_path / 'shards', ranges=False)}/0.tar")
    assert room.fetch(file).read(0, SIZE) == shards[0].read_bytes()


def test_a_shard_that_has_become_shorter_is_no_shard(shards, tmp_path):
    room, file = ShardCache(tmp_path / "c", 10**9), look_at(str(shards[0]))
    shards[0].write_bytes(b"short")
    with pytest.raises(ReadFailed, match="bytes came"):
        room.fetch(File(file.path, file.size, file.modified))
    assert not room.has(file)


def test_who_was_taken_for_dead_in_the_midst_of_a_shard_has_it_in_the_end(shards, tmp_path):
    room, file, cleared = ShardCache(tmp_path / "c", 10**9), look_at(shards[0].as_uri()), []

    def clear(_: int) -> None:
        if not cleared:
            cleared.extend(room.folder.glob(f".{room.place(file).name}-*"))
            shutil.rmtree(cleared[0])

    assert room.fetch(file, clear).read(0, SIZE) == shards[0].read_bytes()
    assert cleared
