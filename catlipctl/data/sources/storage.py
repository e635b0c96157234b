"""Where the bytes of a file lie: on a local disk, read by position, or behind an fsspec URL, by ranges.

Every read goes through `persistently`: what fails is tried again, and in the end stops the run. What the
machine did is never taken for what the data is.
"""

import contextlib
import errno
import io
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from catlipctl import network
from catlipctl.errors import CatlipctlError, DataError, MachineError

T = TypeVar("T")
OPEN_FILES = 128
COPIED_AT_ONCE = 2**26
LOCAL_BUFFER = 2**16
REMOTE_BUFFER = 8 * 2**20
PAUSES = (0.2, 0.8, 3.2)
"""Seconds before each new try of a read that failed: object stores do so now and then for hours."""

ANSWER_SECONDS = 30
"""How long a server may say nothing in the midst of a read, before it has failed."""

_HTTP = ("http", "https")
_REMOTE = (*_HTTP, "s3", "s3a", "gs", "gcs")
"""Protocols whose packages the extra `remote` brings."""
_MARKS = ("ETag", "etag", "mtime", "LastModified", "Last-Modified", "last_modified", "created")
"""What changes with a file, as the file systems of fsspec call it."""
_ABSENT = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO}


class ReadFailed(MachineError):
    """A read that failed each time it was tried: the disk, its mount or permissions, the network, a server.

    A `MachineError`, not a `DataError`: the data may be whole, and another machine or hour may read it. Its
    exit code is that of data, for that is what to look at.
    """

    exit_code = 3

    @classmethod
    def of(cls, address: str, error: BaseException) -> "ReadFailed":
        """The failure to read `address`, a path or URL."""
        said = network.failure(error) or (isinstance(error, OSError) and error.strerror)
        reason = said or str(error) or type(error).__name__
        return cls(
            f"{address} cannot be read: {reason}",
            "check the disk, its mount and permissions, or the server; then run the same command again",
        )

    def in_sample(self, key: str) -> "ReadFailed":
        """The same failure, which met the sample `key`."""
        return ReadFailed(f"sample {key} of {self.message}", self.hint)


def is_absent(error: BaseException) -> bool:
    """Whether there is nothing to read: no file, or a folder in its place. That is what the data is.

    fsspec says 'file not found' of a server that fails, too.
    """
    if network.failure(error.__cause__):
        return False
    return isinstance(error, FileNotFoundError) or (isinstance(error, OSError) and error.errno in _ABSENT)


class _Retries:
    """How many reads of this process were tried again."""

    count = 0


def retries() -> int:
    """How often a read was tried again so far: by this process, and by loader workers whose chunks it has."""
    return _Retries.count


def count_retries(more: int) -> None:
    """Add those of another process."""
    _Retries.count += more


def persistently(read: Callable[[], T], address: str, pauses: Sequence[float] | None = None) -> T:
    """What `read` gives, tried again after a pause where it fails. pauses: seconds, `PAUSES` if None.

    Raises:
        ReadFailed: it failed each time. OSError: there is nothing to read (`is_absent`).
    """
    # Each of fsspec's file systems has exceptions of its own, which are no OSError.
    failures = Exception if is_url(address) else OSError
    for pause in (*(PAUSES if pauses is None else pauses), None):
        try:
            return read()
        except CatlipctlError:
            raise
        except failures as error:
            if is_absent(error):
                raise
            if pause is None:
                raise ReadFailed.of(address, error) from error
            close_files()
            count_retries(1)
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


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
        try:
            return persistently(lambda: read(offsets, sizes), self.path)
        except OSError as error:
            raise ReadFailed.of(self.path, error) from error

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

        try:
            return persistently(read, self.path, pauses)
        except OSError as error:
            raise ReadFailed.of(self.path, error) from error

    def copy_local(self, to: BinaryIO) -> bool:
        """Copy all of a local file into `to`, inside the kernel; False where it cannot, or not wholly."""
        copied = 0
        with contextlib.suppress(OSError, AttributeError), open(self.path, "rb", buffering=0) as stream:
            while more := os.copy_file_range(stream.fileno(), to.fileno(), COPIED_AT_ONCE):
                copied += more
        return copied == self.size

    def _read_local(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        # Named until the reads are done: of two threads that open a file at once, one's handle is not kept.
        handle = _descriptor(self)
        number = handle.fileno()
        return [
            body if len(body := os.pread(number, size, offset)) == size else _read_at(handle, offset, size)
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
        filesystem, path = _filesystem(self.path)
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


def read_file(path: Path, limit: int) -> bytes | None:
    """The bytes of a local file; None where there is none, or more than `limit` bytes.

    Raises:
        ReadFailed: it is there, but cannot be read.
    """

    def read() -> bytes | None:
        with path.open("rb", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            return None if size > limit else _read_at(stream, 0, size + 1)

    try:
        return persistently(read, str(path))
    except (OSError, ValueError):  # nothing is there, or no path can be so
        return None


@lru_cache(maxsize=OPEN_FILES)
def _descriptor(file: File) -> BinaryIO:
    # Reads name their position, so a descriptor may be shared with forked workers and among threads. One that
    # leaves the cache closes when its last reader lets go of it. The whole File is the key: a file that was
    # replaced is opened anew.
    return open(file.path, "rb", buffering=0)


def close_files() -> None:
    """Let go of all local files that are open: of one that is deleted, the disk then has its space back.

    And a handle from before a network disk came back stays stale.
    """
    _descriptor.cache_clear()


def read_small(path: str, limit: int) -> bytes | None:
    """The bytes of a small file, local or behind a URL; None where there is none, or it is larger.

    None, too, where a server keeps it from us: S3 says 403, not 404, to whoever may not list the folder.

    Raises:
        ReadFailed: it cannot be read.
    """
    if not is_url(path):
        return read_file(Path(path), limit)
    filesystem, inner = _filesystem(path)

    def read() -> bytes:
        try:
            return bytes(filesystem.cat_file(inner))
        except Exception as error:
            if network.is_withheld(error):
                raise FileNotFoundError(path) from None
            raise

    try:
        body = persistently(read, path)
    except OSError:
        return None
    return body if len(body) <= limit else None


def _read_at(handle: BinaryIO, offset: int, size: int) -> bytes:
    body = os.pread(handle.fileno(), size, offset)
    # A network disk may give less than it has.
    while len(body) < size and (more := os.pread(handle.fileno(), size - len(body), offset + len(body))):
        body += more
    return body


def _filesystem(url: str) -> tuple[Any, str]:
    # fsspec keeps one instance a process and thread, so this is cheap and right after a fork.
    from fsspec.core import url_to_fs

    protocol = url.partition("://")[0]
    try:
        return url_to_fs(url, **(_http_options() if protocol in _HTTP else {}))
    except ImportError as error:
        hint = "pip install 'catlipctl[remote]'" if protocol in _REMOTE else "install it beside catlipctl"
        raise MachineError(f"{url} needs another package: {error}", hint) from error
    except ValueError as error:
        raise DataError(f"{url}: {error}", "use a path, or a URL of a protocol that fsspec knows") from error


@lru_cache
def _http_options() -> dict[str, Any]:
    """aiohttp goes through the proxies of the environment, as requests does, and waits for no dead server.

    Its own limit, five minutes for a whole request, is too long for one and too short for the other.
    """
    import aiohttp

    limits = aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_SECONDS, sock_read=ANSWER_SECONDS)
    return {"client_kwargs": {"trust_env": True, "timeout": limits}}


def look_at(path: str) -> File:
    """The file at a local path or URL.

    Raises:
        FileNotFoundError: there is none. ReadFailed: the disk or the server does not say.
        DataError: a server does not tell its size, so that it cannot be read by ranges.
    """
    if not is_url(path):
        status = persistently(lambda: os.stat(path), path)
        return File(os.path.abspath(path), status.st_size, str(status.st_mtime_ns))
    filesystem, inner = _filesystem(path)
    _refuse_silent(path)
    info = persistently(lambda: filesystem.info(inner), path)
    if info.get("size") is None:
        raise DataError(f"the server of {path} does not tell the file's size", "download the file first")
    return _described(path, info)


def _described(path: str, info: Mapping[str, Any]) -> File:
    """The file of which a file system of fsspec says `info`."""
    marks = (info.get(mark) for mark in _MARKS)
    return File(path, int(info["size"]), str(next((mark for mark in marks if mark is not None), "")))


def listed(urls: Sequence[str]) -> dict[str, File]:
    """Those of some files in one folder of a server that its listing describes: a request for a thousand.

    Empty where it lists nothing, or tells no sizes, as http(s) does not.
    """
    if urls[0].partition("://")[0] in _HTTP:
        return {}
    filesystem, inner = _filesystem(urls[0])
    folder = inner.rpartition("/")[0]
    try:
        infos = persistently(lambda: filesystem.ls(folder, detail=True), urls[0].rpartition("/")[0])
    except OSError:
        return {}
    by_name = {info["name"].rpartition("/")[2]: info for info in infos if info.get("size") is not None}
    names = {url: url.rpartition("/")[2] for url in urls}
    return {url: _described(url, by_name[name]) for url, name in names.items() if name in by_name}


def _refuse_silent(url: str) -> None:
    """See that something answers at an http(s) URL's host, rather than wait for minutes.

    Raises:
        ReadFailed: nothing does.
    """
    protocol, _, rest = url.partition("://")
    if protocol in _HTTP and (why := _silence_of(f"{protocol}://{rest.partition('/')[0]}")):
        _silence_of.cache_clear()
        raise ReadFailed(
            f"{url} cannot be read: its server does not answer ({why})",
            "check the address and the network; then run the same command again",
        )


@lru_cache
def _silence_of(server: str) -> str:
    return network.silence(server)


def is_url(path: str) -> bool:
    """Whether `path` goes through fsspec: s3://, https://, memory://..."""
    return "://" in path


def local(path: str) -> str:
    """`file://` URLs as plain paths; all else as it is."""
    return path.removeprefix("file://") if path.startswith("file://") else path


def remote_glob(url: str) -> list[str]:
    """The URLs that a glob on a server stands for, sorted."""
    filesystem, inner = _filesystem(url)
    _refuse_silent(url)
    found = persistently(lambda: filesystem.glob(inner), url)
    return [filesystem.unstrip_protocol(path) for path in sorted(found)]
