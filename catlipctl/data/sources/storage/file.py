"""Where the bytes of a file lie: on a local disk, read by position, or behind an fsspec URL, by ranges."""

import contextlib
import errno
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from catlipctl.data.sources.storage import remote
from catlipctl.data.sources.storage.descriptors import descriptor, read_at
from catlipctl.data.sources.storage.retrying import ReadFailed, is_url, persistently
from catlipctl.errors import MachineError

T = TypeVar("T")
COPIED_AT_ONCE = 2**26
LOCAL_BUFFER = 2**16
REMOTE_BUFFER = 8 * 2**20
_MARKS = ("ETag", "etag", "mtime", "LastModified", "Last-Modified", "last_modified", "created")
"""What changes with a file, as the file systems of fsspec call it."""


class File(NamedTuple):
    """A file as it was when it was looked at: local absolute path or URL, bytes, and what changes with it.

    It was there: that it is gone is what the machine did, so its reads raise nothing but ReadFailed.
    """

    path: str
    size: int
    modified: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]

    def open(self) -> io.BufferedReader:
        """A buffered stream from the first byte, for one pass over the file."""
        return io.BufferedReader(_Stream(self), REMOTE_BUFFER if is_url(self.path) else LOCAL_BUFFER)

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer where the file has become shorter.

        Raises:
            ReadFailed: it cannot be read any more.
        """
        return self.read_many([offset], [size])[0]

    def read_many(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """`read` for many places; a remote file is asked for all of them at once."""
        read = self._read_remote if is_url(self.path) else self._read_local
        return self._persistently(lambda: read(offsets, sizes))

    def next_piece(self, offset: int, size: int, pauses: Sequence[float]) -> bytes:
        """`size` bytes from `offset`, tried again after each of `pauses`, in seconds.

        From a server that knows no ranges, the whole file.

        Raises:
            ReadFailed: each try failed, or the file has become shorter.
        """

        def read() -> bytes:
            if is_url(self.path):
                (body,) = self._cat([offset], [offset + size])
            else:
                (body,) = self._read_local([offset], [size])
            if len(body) not in (size, self.size):
                raise OSError(errno.EIO, f"{len(body):,} bytes came, {size:,} were asked for")
            return body

        return self._persistently(read, pauses)

    def copy_local(self, to: BinaryIO) -> bool:
        """Copy all of a local file into `to`, inside the kernel; False where it cannot, or not wholly."""
        copied = 0
        with contextlib.suppress(OSError, AttributeError), open(self.path, "rb", buffering=0) as stream:
            while more := os.copy_file_range(stream.fileno(), to.fileno(), COPIED_AT_ONCE):
                copied += more
        return copied == self.size

    def _persistently(self, read: Callable[[], T], pauses: Sequence[float] | None = None) -> T:
        """As `persistently`; but that it is absent, after it was there, is a failure too."""
        try:
            return persistently(read, self.path, pauses)
        except OSError as error:
            raise ReadFailed.of(self.path, error) from error

    def _read_local(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        # Named until the reads are done: of two threads that open a file at once, one's handle is not kept.
        handle = descriptor(self)
        number = handle.fileno()
        return [
            body if len(body := os.pread(number, size, offset)) == size else read_at(handle, offset, size)
            for offset, size in zip(offsets, sizes, strict=True)
        ]

    def _read_remote(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        found = self._cat(offsets, [offset + size for offset, size in zip(offsets, sizes, strict=True)])
        if any(len(body) > size for body, size in zip(found, sizes, strict=True)):
            raise MachineError(
                f"the server of {self.path} sends whole files where a part is asked for",
                "download the file first, or serve it by a server that knows range requests; "
                "--set data.window=N reads whole shards",
            )
        return found

    def _cat(self, starts: Sequence[int], ends: Sequence[int]) -> list[bytes]:
        filesystem, path = remote.filesystem_of(self.path)
        found = filesystem.cat_ranges([path] * len(ends), list(starts), list(ends), on_error="raise")
        return [bytes(body) for body in found]


class _Stream(io.RawIOBase):
    """A file from its first byte on, through `File.read`."""

    def __init__(self, file: File) -> None:
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._file.size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        size = len(buffer)
        if is_url(self._file.path):
            # A server may refuse a range that begins or ends beyond the file.
            size = min(size, self._file.size - self._at)
        body = self._file.read(self._at, size) if size > 0 else b""
        buffer[: len(body)] = body
        self._at += len(body)
        return len(body)


def look_at(path: str) -> File:
    """The file at a local path or URL.

    Raises:
        FileNotFoundError: there is none. ReadFailed: the disk or the server does not say.
        DataError: a server does not tell its size, so that it cannot be read by ranges.
    """
    if is_url(path):
        return _described(path, remote.described(path))
    status = persistently(lambda: os.stat(path), path)
    return File(os.path.abspath(path), status.st_size, str(status.st_mtime_ns))


def listed(urls: Sequence[str]) -> dict[str, File]:
    """Those of some files in one folder of a server that its listing describes, as `remote.listed` has it."""
    return {url: _described(url, info) for url, info in remote.listed(urls).items()}


def _described(path: str, info: Mapping[str, Any]) -> File:
    """The file of which a file system of fsspec says `info`."""
    marks = (info.get(mark) for mark in _MARKS)
    return File(path, int(info["size"]), str(next((mark for mark in marks if mark is not None), "")))


def read_file(path: Path, limit: int) -> bytes | None:
    """The bytes of a local file; None where there is none, or more than `limit` bytes.

    Raises:
        ReadFailed: it is there, but cannot be read.
    """

    def read() -> bytes | None:
        with path.open("rb", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            return None if size > limit else read_at(stream, 0, size + 1)

    try:
        return persistently(read, str(path))
    except (OSError, ValueError):  # nothing is there, or no path can be so
        return None


def read_small(path: str, limit: int) -> bytes | None:
    """The bytes of a small file, local or behind a URL; None where there is none for us, or it is larger.

    Raises:
        ReadFailed: it cannot be read.
    """
    if not is_url(path):
        return read_file(Path(path), limit)
    try:
        body = remote.read_whole(path)
    except OSError:
        return None
    return body if len(body) <= limit else None
