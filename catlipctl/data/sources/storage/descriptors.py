"""Local files that are open: each once a process, read by position."""

import os
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from catlipctl.data.sources.storage.file import File

OPEN_FILES = 128


@lru_cache(maxsize=OPEN_FILES)
def descriptor(file: "File") -> BinaryIO:
    """A local file, open to be read by position; one for all readers of this process."""
    # Reads name their position, so a descriptor may be shared with forked workers and among threads. One that
    # leaves the cache closes when its last reader lets go of it. The whole File is the key: a file that was
    # replaced is opened anew.
    return open(file.path, "rb", buffering=0)


def close_files() -> None:
    """Let go of all local files that are open: of one that is deleted, the disk then has its space back.

    And a handle from before a network disk came back stays stale.
    """
    descriptor.cache_clear()


def read_at(handle: BinaryIO, offset: int, size: int) -> bytes:
    """`size` bytes from `offset`; fewer where the file ends before."""
    body = os.pread(handle.fileno(), size, offset)
    # A network disk may give less than it has.
    while len(body) < size and (more := os.pread(handle.fileno(), size - len(body), offset + len(body))):
        body += more
    return body
