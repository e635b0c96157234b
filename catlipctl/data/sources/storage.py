"""Where the bytes of a file lie: on a local disk, read by position, or behind an fsspec URL, by ranges."""

import glob
import os
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast

from catlipctl.data.sources.patterns import expand_braces, is_url
from catlipctl.errors import DataError, MachineError

T = TypeVar("T")
OPEN_FILES = 128
REMOTE_BLOCK = 8 * 2**20


class File(NamedTuple):
    """A file as it was when it was looked at: local absolute path or URL, bytes, and what changes with it."""

    path: str
    size: int
    modified: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]

    def open(self) -> BinaryIO:
        """A buffered stream from the first byte, for one pass over the file."""
        if not is_url(self.path):
            return open(self.path, "rb", buffering=2**16)
        filesystem, path = _filesystem(self.path)
        return cast(BinaryIO, filesystem.open(path, "rb", block_size=REMOTE_BLOCK))

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer where the file has become shorter.

        Raises:
            OSError: the file cannot be read any more.
        """
        if not is_url(self.path):
            # Named until the read is done: of two threads that open a file at once, one's handle is not kept.
            handle = _descriptor(self)
            return os.pread(handle.fileno(), size, offset)
        return self.read_many([offset], [size])[0]

    def read_many(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """`read` for many places; a remote file is asked for all of them at once."""
        if not is_url(self.path):
            handle = _descriptor(self)
            return [os.pread(handle.fileno(), s, o) for o, s in zip(offsets, sizes, strict=True)]
        filesystem, path = _filesystem(self.path)
        ends = [o + s for o, s in zip(offsets, sizes, strict=True)]
        return _persistently(
            lambda: filesystem.cat_ranges([path] * len(ends), list(offsets), ends, on_error="raise")
        )


@lru_cache(maxsize=OPEN_FILES)
def _descriptor(file: File) -> BinaryIO:
    # Reads name their position, so a descriptor may be shared with forked workers and among threads. One that
    # leaves the cache closes when its last reader lets go of it. The whole File is the key: a file that was
    # replaced is opened anew.
    return open(file.path, "rb", buffering=0)


def _filesystem(url: str) -> tuple[Any, str]:
    # fsspec keeps one instance a process and thread, so this is cheap and right after a fork.
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(url)
    except ImportError as error:
        raise MachineError(f"{url} needs another package: {error}", "install it beside catlipctl") from error
    except ValueError as error:
        raise DataError(f"{url}: {error}", "use a path, or a URL of a protocol that fsspec knows") from error


def _persistently(read: Callable[[], T], tries: int = 4) -> T:
    """What `read` gives, tried again where the network fails: object stores do so now and then for hours."""
    for attempt in range(tries - 1):
        try:
            return read()
        except FileNotFoundError:
            raise
        except (OSError, TimeoutError):
            time.sleep(0.2 * 4**attempt)
    return read()


def look_at(path: str) -> File:
    """The file at a local path or URL.

    Raises:
        FileNotFoundError: there is none.
        DataError: a server does not tell its size, so that it cannot be read by ranges.
    """
    if not is_url(path):
        status = os.stat(path)
        return File(os.path.abspath(path), status.st_size, str(status.st_mtime_ns))
    filesystem, inner = _filesystem(path)
    info = _persistently(lambda: filesystem.info(inner))
    if info.get("size") is None:
        raise DataError(f"the server of {path} does not tell the file's size", "download the file first")
    marks = (info.get(mark) for mark in ("ETag", "etag", "mtime", "LastModified", "last_modified", "created"))
    return File(path, int(info["size"]), str(next((mark for mark in marks if mark is not None), "")))


def expand(pattern: str) -> list[str]:
    """The paths that a glob or brace pattern stands for: braces in their order, globs sorted.

    A path without a glob is given back whether it exists or not.
    """
    found: list[str] = []
    for path in [pattern] if not is_url(pattern) and os.path.exists(pattern) else expand_braces(pattern):
        if is_url(path):
            found += _remote_glob(path) if any(mark in path for mark in "*[") else [path]
        elif glob.has_magic(path) and not os.path.exists(path):
            found += sorted(glob.glob(os.path.expanduser(path), recursive=True))
        else:
            found.append(os.path.expanduser(path))
    return found


def _remote_glob(url: str) -> list[str]:
    filesystem, inner = _filesystem(url)
    return [
        filesystem.unstrip_protocol(path) for path in sorted(_persistently(lambda: filesystem.glob(inner)))
    ]


def local(path: str) -> str:
    """`file://` URLs as plain paths; all else as it is."""
    return path.removeprefix("file://") if path.startswith("file://") else path


def relative_to_known_folder(paths: Sequence[str], folder: Path) -> Path | None:
    """From where some of the relative `paths` exist: `folder`, else the current one, else None."""
    for root in (folder, Path.cwd()):
        if any((root / path).is_file() for path in paths):
            return root
    return None
