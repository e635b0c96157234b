"""Shards on this machine's disk: each fetched once for all its processes, and dropped when no longer needed.

A shard is a folder, which is renamed into place when it is whole. Who fetches one holds its lock. A lock only
saves work: two who fetch the same shard make the same file, and one of them is thrown away.

Whoever needs a shard touches its folder now and then. What was not touched for a while may be dropped.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from catlipctl.data.sources.storage import File, ReadFailed, is_url
from catlipctl.data.sources.streams import locks
from catlipctl.data.sources.streams.locks import Lock
from catlipctl.errors import CatlipctlError

PAUSES = (0.2, 0.8, 3.2, 12.8, 25.6)
"""Seconds before each new try of a piece: 43 in all, which outlasts a restart of a server."""
PIECE = 8 * 2**20
"""Bytes that are asked for at once: what a connection that drops costs, at most."""
NEEDED = 60.0
"""Seconds for which a shard counts as needed after it was touched."""
PATIENCE = 5.0
"""Seconds in which whoever must have a shard comes to drop any other for it, the longest untouched first."""
GIB = 2**30
_TAR = "shard.tar"
_GONE = ".gone-"
_LOOK_AGAIN = 0.05


class ShardCache:
    """Shards in a folder of at most `bound` bytes, which any number of processes share."""

    def __init__(self, folder: Path, bound: int) -> None:
        self.folder, self.bound = folder, bound

    def place(self, file: File) -> Path:
        """The folder in which a shard lies, or will: its tar, and beside it what is made of it."""
        return self.folder / hashlib.sha256(json.dumps(file).encode()).hexdigest()[:32]

    def has(self, file: File) -> bool:
        """Whether a shard is here, whole."""
        return (self.place(file) / _TAR).exists()

    def local(self, file: File) -> File:
        """The file that a shard is here."""
        return File(str(self.place(file) / _TAR), file.size, file.modified)

    def touch(self, file: File) -> None:
        """Say that a shard is needed."""
        with contextlib.suppress(OSError):
            os.utime(self.place(file))

    def release(self, file: File, soon: float) -> None:
        """A shard is not needed here any more: in `soon` seconds it may go, if nobody else touches it."""
        with contextlib.suppress(OSError):
            os.utime(self.place(file))
            touched = self.place(file).stat().st_mtime - NEEDED + soon
            os.utime(self.place(file), (touched, touched))

    def drop(self, file: File) -> None:
        """A shard is needed by nobody."""
        _delete(self.place(file))

    def fetch(self, file: File, told: Callable[[int], object] = lambda _: None) -> File:
        """A shard's local file, fetched first if nobody has; where somebody is at it, waited for.

        told: called after each piece with its bytes.

        Raises:
            ReadFailed: it cannot be read, with its address. CatlipctlError: the disk is full.
        """
        lock = Lock(self.folder / f"{self.place(file).name}.lock")
        while not self.has(file):
            if lock.take():
                self._fetch_locked(file, lock, told, wait=True)
            elif (reason := lock.failed()) is not None:
                raise ReadFailed(*reason)
            elif lock.is_dead():
                for left in self.folder.glob(f".{self.place(file).name}-*"):
                    shutil.rmtree(left, ignore_errors=True)
                lock.drop()
            else:
                time.sleep(_LOOK_AGAIN)
        self.touch(file)
        return self.local(file)

    def fetch_ahead(self, file: File, told: Callable[[int], object]) -> bool:
        """Fetch a shard unless somebody is at it, or what is needed leaves no room for it; whether it came.

        Raises:
            ReadFailed, CatlipctlError: as `fetch`.
        """
        lock = Lock(self.folder / f"{self.place(file).name}.lock")
        if self.has(file) or not lock.take():
            return False
        return self._fetch_locked(file, lock, told, wait=False)

    def _fetch_locked(self, file: File, lock: Lock, told: Callable[[int], object], *, wait: bool) -> bool:
        if self.has(file):  # its lock was dropped between our look and our taking it
            lock.drop()
            return True
        try:
            with self._room(file, wait=wait) as folder:
                if folder is None:
                    return False

                def beat(size: int) -> None:
                    lock.touch()
                    told(size)

                _copy(file, folder / _TAR, beat)
                self._put(folder, file)
                return True
        except ReadFailed as error:
            lock.fail(error)
            raise
        finally:
            lock.drop()

    def _put(self, folder: Path, file: File) -> None:
        """Rename a fetched shard into place, where another may have put it meanwhile, which is as well."""
        try:
            os.rename(folder, self.place(file))
        except OSError:
            if not self.has(file):
                # Somebody has kept an index beside a shard that had been dropped.
                _delete(self.place(file))
                with contextlib.suppress(FileNotFoundError):
                    # Or a server was silent for so long that another took us for dead, and fetches it now.
                    os.rename(folder, self.place(file))

    @contextlib.contextmanager
    def _room(self, file: File, *, wait: bool) -> Iterator[Path | None]:
        """A folder for a shard to be fetched into, as large as it will be; None where there is no room.

        wait: until there is, or to make it by dropping what is needed later.
        """
        folder = self.folder / f".{self.place(file).name}-{secrets.token_hex(4)}"
        begun = time.monotonic()
        try:
            while True:
                folder.mkdir(parents=True, exist_ok=True)
                with (folder / _TAR).open("wb") as stream:
                    stream.truncate(file.size)
                waited = min(1.0, (time.monotonic() - begun) / PATIENCE)
                if self._within_bound(folder, spared=NEEDED * (1 - waited)):
                    yield folder
                    return
                # Of two that want the last room each sees the other, and steps back.
                shutil.rmtree(folder, ignore_errors=True)
                if not wait:
                    yield None
                    return
                time.sleep(_LOOK_AGAIN * (1 + secrets.randbelow(8)))
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise self._full() from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _within_bound(self, ours: Path, spared: float) -> bool:
        """Whether what is there, `ours` among it, is within the bound, after dropping what is not needed."""
        now, there = (ours / _TAR).stat().st_mtime, list[tuple[float, Path, int]]()
        for place in self.folder.iterdir():
            with contextlib.suppress(OSError):
                if place.name.startswith(_GONE):
                    shutil.rmtree(place, ignore_errors=True)
                elif not place.name.endswith((".lock", ".failed")):
                    tar = (place / _TAR).stat()
                    coming = place.name.startswith(".")
                    there.append(((tar if coming else place.stat()).st_mtime, place, tar.st_size))
        excess = sum(size for _, _, size in there) - self.bound
        for touched, place, size in sorted(there):
            coming = place.name.startswith(".")
            if excess > 0 and place != ours and now - touched >= (locks.DEAD if coming else spared):
                _delete(place)
                excess -= size
        # One that is larger than the bound is still to be read.
        return excess <= 0 or len(there) == 1

    def _full(self) -> CatlipctlError:
        free = shutil.disk_usage(self.folder).free
        return CatlipctlError(
            f"disk full while fetching shards into {self.folder} ({free / GIB:.1f} GiB free, "
            f"and the stream may take {self.bound / GIB:.1f} GiB)",
            "--set data.stream_cache_gib=N with fewer, or another disk by --cache-dir",
        )


def _copy(file: File, to: Path, told: Callable[[int], object]) -> None:
    """Fetch all of a file, piece by piece, so that a connection that drops is gone on with where it was."""
    with to.open("r+b", buffering=0) as stream:
        if not is_url(file.path) and file.copy_local(stream):
            told(file.size)
        else:
            _copy_pieces(file, stream, told)
        # Or a power cut might leave a file of the right size with other bytes.
        os.fsync(stream.fileno())


def _copy_pieces(file: File, to: BinaryIO, told: Callable[[int], object]) -> None:
    to.seek(0)
    at = 0
    while at < file.size:
        size = min(PIECE, file.size - at)
        body = file.next_piece(at, size, PAUSES)
        if len(body) != size:  # all of it, from a server without ranges
            at = to.seek(0)
        at += to.write(body)
        told(len(body))
    to.truncate(file.size)


def _delete(place: Path) -> None:
    gone = place.with_name(f"{_GONE}{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        os.rename(place, gone)  # or somebody might see half of it
        shutil.rmtree(gone, ignore_errors=True)
