"""Who has a run's directory: by `flock`, or where the file system knows none, by a file kept fresh."""

import errno
import fcntl
import json
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

from catlipctl.signals import is_alive

HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 30.0
"""A file that nobody touched for so long is of a process that is gone, by the clock of who watches it."""

LOOK_SECONDS = 0.05
"""For so long at most somebody holds a lock who only looks whether it is taken (`Lock.taken`)."""

NO_FLOCK = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""What Lustre without `-o flock` and some NFS mounts say."""
TAKEN = (errno.EACCES, errno.EAGAIN, errno.ENOENT)

_held: set[int] = set()
"""Descriptors of the locks that this process holds."""


def _let_go() -> None:
    """In a forked child, a loader's worker: it would hold the lock for seconds after a parent was killed."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


class Lock:
    """A folder, held until this process ends, by its file `lock`.

    without_flock: does the file system know no `flock`? Then `lock.json` names the holder. Where that was
    killed, its own machine knows it at once, and others after `STALE_SECONDS`.
    """

    def __init__(self, folder: Path) -> None:
        self.file, self._lease = folder / "lock", folder / "lock.json"
        self.without_flock = False
        self._descriptor: int | None = None
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "token": secrets.token_hex(8)}
        self._own = json.dumps(holder)
        self._released = threading.Event()

    def take(self) -> bool:
        """Hold it, creating the folder; False if another process holds it."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # a start that failed has just taken the folder away
            return False
        try:
            _lock(descriptor)
            held = self.file.exists() and os.path.samestat(os.fstat(descriptor), self.file.stat())
        except OSError as error:
            os.close(descriptor)
            if error.errno in NO_FLOCK:
                self.without_flock = True
                return self._take_lease()
            if error.errno not in TAKEN:
                raise
            return False
        if not held:  # the lock of a folder that has been taken away
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        _held.add(descriptor)
        return True

    @property
    def taken(self) -> bool:
        """Does a process hold it now? Whoever looks holds it for an instant, with all who look."""
        try:
            descriptor = os.open(self.file, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            fresh = time.time() - (self._touched() or 0) < STALE_SECONDS
            return fresh if error.errno in NO_FLOCK else error.errno in TAKEN
        finally:
            os.close(descriptor)
        return False

    def release(self) -> None:
        """Let go of the folder."""
        self._released.set()
        if self._descriptor in _held:
            _held.remove(self._descriptor)
            os.close(self._descriptor)
        self._descriptor = None
        if self.without_flock and self._holder() == self._own:
            with suppress(OSError):
                self._lease.unlink()

    def _take_lease(self) -> bool:
        """Hold the folder by a file that only one process can make; one that is left behind is set aside."""
        while not self._made():
            holder = self._holder()
            if holder is not None and not self._left_behind(holder):
                return False
            aside = self._lease.with_name(f".{self._lease.name}.{secrets.token_hex(4)}.tmp")
            with suppress(FileNotFoundError):
                os.rename(self._lease, aside)
                found = aside.read_text(encoding="utf-8")
                if found != holder:  # another has been quicker, and this is its own
                    with suppress(OSError):
                        os.link(aside, self._lease)
                    return False
                aside.unlink()
        threading.Thread(target=self._keep_fresh, daemon=True).start()
        return True

    def _made(self) -> bool:
        # Whole at once: a reader never finds it empty.
        whole = self._lease.with_name(f".{self._lease.name}.{secrets.token_hex(4)}.tmp")
        whole.write_text(self._own, encoding="utf-8")
        try:
            os.link(whole, self._lease)
        except FileExistsError:
            return False
        except OSError:  # no hard links either
            try:
                with self._lease.open("x", encoding="utf-8") as stream:
                    stream.write(self._own)
            except FileExistsError:
                return False
        finally:
            whole.unlink()
        return True

    def _holder(self) -> str | None:
        try:
            return self._lease.read_text(encoding="utf-8")
        except OSError:
            return None

    def _left_behind(self, holder: str) -> bool:
        """Is the process that made the file gone? Where it runs elsewhere, the file is watched a while."""
        try:
            about = json.loads(holder)
            host, pid = str(about["host"]), int(about["pid"])
        except (ValueError, KeyError, TypeError):
            host, pid = "", 0
        if host == socket.gethostname():
            return not is_alive(pid)
        first, until = self._touched(), time.monotonic() + STALE_SECONDS
        while time.monotonic() < until:
            time.sleep(min(1.0, HEARTBEAT_SECONDS))
            if self._touched() != first:
                return False
        return True

    def _touched(self) -> float | None:
        try:
            return self._lease.stat().st_mtime
        except OSError:
            return None

    def _keep_fresh(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):
                os.utime(self._lease)


def _lock(descriptor: int) -> None:
    """Hold a file for this process alone; OSError where another one does, for longer than to look at it."""
    for last in (False, True):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if last:
                raise
            time.sleep(LOOK_SECONDS)
        else:
            return
