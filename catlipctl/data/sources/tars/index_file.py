"""Indexes of tars in the cache folder: one for each shard, as it is made, and one of all that a source has.

The one of all is mapped, so the processes of a machine share its pages. Whoever comes first makes it, shard
by shard; others wait. After a kill the shards that were done are done.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catlipctl.data.sources.storage import File
from catlipctl.data.sources.tars.building import build
from catlipctl.data.sources.tars.index import ARRAYS, ENTRY, Signature, TarIndex, joined
from catlipctl.errors import CatlipctlError, MachineError
from catlipctl.files import replacing
from catlipctl.progress import SILENT, Progress

INDEX_VERSION = 2
_MARK = b"tarindex"
_LAYOUT: dict[str, tuple[Any, int]] = {
    "entries": (ENTRY, 0),
    "pieces": ("<u8", 0),
    "shards": ("<i8", 3),
    "local": ("<i8", 0),
    "census": ("<i8", 4),
}
"""The type of each array, and how many columns it has, if any."""


def read_index(files: Sequence[File], cache: Path | None, progress: Progress = SILENT) -> TarIndex:
    """The index of some shards, from the cache folder if there; without one (None) nothing is kept.

    Raises:
        ReadFailed: a shard cannot be read.
    """
    if cache is None:
        return _together([build(file) for file in files])
    path = index_path(files, cache)
    if (kept := load(path)) is not None:
        return kept
    with alone(path, progress):
        kept = load(path)
        return _make(files, path, cache, progress) if kept is None else kept


def index_path(files: Sequence[File], cache: Path) -> Path:
    """Where the index of some files as they are now (path, size, mtime) is kept."""
    identity = json.dumps([INDEX_VERSION, *files])
    return cache / "shards" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.index"


def load(path: Path, mapped: bool = True) -> TarIndex | None:
    """A kept index, or None where there is none or it is not whole. Unless `mapped` it is read to memory."""
    try:
        body: NDArray[np.uint8] = np.memmap(path, np.uint8, "r") if mapped else np.fromfile(path, np.uint8)
        mark, length = body[-8:].tobytes(), int(body[-16:-8].view("<i8")[0])
        head = json.loads(body[-16 - length : -16].tobytes())
        arrays, at = {}, 0
        for name, (kind, columns) in _LAYOUT.items():
            rows = head["rows"][name]
            size = rows * max(columns, 1) * np.dtype(kind).itemsize
            flat = body[at : at + size].view(kind)
            arrays[name] = flat.reshape(rows, columns) if columns else flat
            at += -(-size // 8) * 8
        if mark != _MARK or at + length + 16 != len(body):
            return None
        signatures = tuple(
            Signature(tuple((extension, state) for extension, state in members), largest, tuple(leads))
            for members, largest, leads in head["signatures"]
        )
        damage = {int(shard): (kind, at) for shard, (kind, at) in head["damage"].items()}
        return TarIndex(**arrays, signatures=signatures, damage=damage, path=path if mapped else None)
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None


def load_again(path: Path) -> TarIndex:
    """The index that another process had mapped.

    Raises:
        MachineError: it is gone.
    """
    if (kept := load(path)) is None:
        raise MachineError(f"{path} is gone: the cache folder was emptied meanwhile", "run the command again")
    return kept


def save(indexes: Iterable[TarIndex], path: Path) -> None:
    """Keep the index of all the shards; of a million samples no more is in memory than of a shard.

    Raises:
        OSError, CatlipctlError: the cache folder cannot be written.
    """
    rest, rows = [], 0
    with replacing(path) as temporary, temporary.open("wb") as out:
        for index in indexes:
            out.write(index.entries.tobytes())
            rows += len(index)
            rest.append(replace(index, entries=index.entries[:0].copy()))
        out.write(bytes(-out.tell() % 8))
        whole = joined(rest)
        for name in ARRAYS[1:]:
            out.write(getattr(whole, name).tobytes())
        counts = {name: len(getattr(whole, name)) for name in ARRAYS} | {"entries": rows}
        head = json.dumps({"rows": counts, "signatures": whole.signatures, "damage": whole.damage}).encode()
        out.write(head + len(head).to_bytes(8, "little") + _MARK)


def _together(indexes: Sequence[TarIndex]) -> TarIndex:
    """The index of all shards, in memory."""
    if len(indexes) == 1:
        return indexes[0]
    return replace(joined(indexes), entries=np.concatenate([index.entries for index in indexes]))


def _make(files: Sequence[File], path: Path, cache: Path, progress: Progress) -> TarIndex:
    """Make the index of each shard that has none, then that of all."""
    paths = [index_path([file], cache) for file in files]
    missing = [number for number, one in enumerate(paths) if load(one, mapped=False) is None]
    unsaved: dict[int, TarIndex] = {}
    failed: list[Exception] = []

    def make(number: int) -> None:
        index = build(files[number])
        try:
            save([index], paths[number])
        except (OSError, CatlipctlError) as error:
            unsaved[number] = index
            failed.append(error)

    def one(number: int) -> TarIndex:
        index = unsaved.get(number)
        index = load(paths[number], mapped=False) if index is None else index
        return build(files[number]) if index is None else index

    if missing:
        # Threads hide the latency of disks and networks; the parsing itself is a few microseconds a member.
        with progress.task("indexing shards", len(missing), "shards") as task, ThreadPoolExecutor(4) as pool:
            for _ in pool.map(make, missing):
                task.advance()
    if not failed:
        try:
            if len(files) > 1:
                save((one(number) for number in range(len(files))), path)
        except (OSError, CatlipctlError) as error:
            failed.append(error)
    if failed:
        progress.warn(f"indexes are not kept: {failed[0]}")
    kept = load(path)
    return _together([one(number) for number in range(len(files))]) if kept is None else kept


@contextmanager
def alone(path: Path, progress: Progress) -> Iterator[None]:
    """While no other process of this machine makes the same index; without a lock where there are none."""
    lock = path.with_suffix(".lock")
    descriptor = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(lock, progress)
    except OSError:
        # A folder that cannot be written, or a file system without locks: two make the same, the last stays.
        pass
    try:
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                lock.unlink()
            # Closing is not enough: a worker that was forked meanwhile holds it, too.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _locked(lock: Path, progress: Progress) -> int:
    """A descriptor that holds the lock."""
    told = False
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    progress.note("another process is indexing these shards: waiting for it")
                told = True
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Who held it before has removed the file: then this is no lock any more.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
