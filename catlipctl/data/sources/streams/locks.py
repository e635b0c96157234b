"""One process at a time, without `flock`, which not every file system knows.

A lock is a file that only one process can create, and that it touches as it goes on. Of one that a killed
process has left, that process tells on the same machine; elsewhere, that nobody touches it any more.
"""

import contextlib
import json
import os
import socket
import time
from pathlib import Path

from catlipctl.data.sources.storage import ReadFailed
from catlipctl.signals import is_alive

DEAD = 120.0
"""Seconds after which a lock that nobody touches is taken over, if its process cannot be asked."""
RECENT = 60.0
"""Seconds for which a failure counts for all who were there: else they try as long, one after the other."""
_BEGUN = time.time()
"""Of this process, or of the one that forked it. Whoever comes after a failure tries for himself."""


class Lock:
    """A file that one process creates and touches; another looks at whether it still does."""

    def __init__(self, path: Path) -> None:
        self._path, self._failure = path, path.with_suffix(".failed")
        self._watched: tuple[float, float] | None = None

    def take(self) -> bool:
        """Create it, unless it is there, or what it is for has just failed."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("x") as stream:
                stream.write(f"{os.getpid()} {socket.gethostname()}")
        except FileExistsError:
            return False
        if self._has_just_failed():
            self.drop()
            return False
        self._failure.unlink(missing_ok=True)
        return True

    def touch(self) -> None:
        """Say that the work goes on."""
        with contextlib.suppress(OSError):
            os.utime(self._path)

    def drop(self) -> None:
        """Let others have it."""
        self._path.unlink(missing_ok=True)

    def fail(self, error: ReadFailed) -> None:
        """Tell others that it cannot be done, so that they need not try as long as we did."""
        with contextlib.suppress(OSError):
            self._failure.write_text(json.dumps([error.message, error.hint]))

    def failed(self) -> tuple[str, str] | None:
        """Why another could not do it, just now."""
        if self._path.exists() or not self._has_just_failed():
            return None
        try:
            message, hint = json.loads(self._failure.read_text())
        except (OSError, ValueError):
            return None
        return str(message), str(hint)

    def _has_just_failed(self) -> bool:
        try:
            when = self._failure.stat().st_mtime
        except OSError:
            return False
        return when > _BEGUN and time.time() - when < RECENT

    def is_dead(self) -> bool:
        """Whether its process is gone, or has not touched it for long by our own clock."""
        try:
            touched = self._path.stat().st_mtime
            pid, _, host = self._path.read_text().partition(" ")
        except OSError:
            return False
        if host == socket.gethostname() and pid.isdigit() and not is_alive(int(pid)):
            return True
        now = time.monotonic()
        if self._watched is None or self._watched[0] != touched:
            self._watched = touched, now
        return now - self._watched[1] > DEAD
