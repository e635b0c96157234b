"""Reads that fail are tried again, and in the end stop the run; and the addresses that they are of.

What the machine did is never taken for what the data is.
"""

import errno
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from catlipctl import network
from catlipctl.data.sources.storage.descriptors import close_files
from catlipctl.errors import CatlipctlError, MachineError

T = TypeVar("T")
PAUSES = (0.2, 0.8, 3.2)
"""Seconds before each new try of a read that failed: object stores do so now and then for hours."""
_ABSENT = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO}


def is_url(path: str) -> bool:
    """Whether `path` goes through fsspec: s3://, https://, memory://..."""
    return "://" in path


def local(path: str) -> str:
    """`file://` URLs as plain paths; all else as it is."""
    return path.removeprefix("file://") if path.startswith("file://") else path


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
