"""A run's directory: one run at a time, never overwritten; `exit.json` says how it ended."""

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from catlipctl.errors import CatlipctlError, UsageError

UNSTARTED = {"lock", "exit.json", "recipe.yaml"}
"""What a run that failed before its vocabulary leaves behind: nothing that a new run could harm."""


class RunDirectory:
    """A directory held by this process group until it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.vocabulary = path / "vocabulary.json"
        self.metrics = path / "metrics.jsonl"
        self.exit = path / "exit.json"
        self._lock: int | None = None

    def lock(self) -> bool:
        """Hold the directory, creating it, until this process ends; False if another process holds it."""
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            return False
        self._lock = descriptor
        return True

    def release(self) -> None:
        """Let go of the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def started(self) -> bool:
        """Does it hold anything that a new run could harm?"""
        return self.path.exists() and any(entry.name not in UNSTARTED for entry in self.path.iterdir())

    @contextmanager
    def recording_exit(self, rank: int) -> Iterator[None]:
        """Write `exit.json` at the end of the body; the first of all processes to fail is the one recorded.

        torchrun and accelerate launch return 1 whatever their children said. A process that fails because
        another one is gone raises the other's error.
        """
        try:
            yield
        except BaseException as error:
            first = self._record(_as_record(error, rank))
            if first["rank"] != rank and not isinstance(error, CatlipctlError):
                other = CatlipctlError(f"process {first['rank']}: {first['message']}", first["hint"])
                other.exit_code = first["exit_code"]
                raise other from error
            raise
        if rank == 0:
            self._record({"exit_code": 0, "message": "complete", "hint": "", "rank": 0})

    def _record(self, record: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps({**record, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}, indent=2) + "\n"
        with suppress(FileExistsError), self.exit.open("x", encoding="utf-8") as stream:
            stream.write(text)
            return record
        try:
            return {**record, **json.loads(self.exit.read_text(encoding="utf-8"))}
        except (OSError, json.JSONDecodeError):
            return record


def _as_record(error: BaseException, rank: int) -> dict[str, Any]:
    if isinstance(error, CatlipctlError):
        return {"exit_code": error.exit_code, "message": error.message, "hint": error.hint, "rank": rank}
    code = 130 if isinstance(error, KeyboardInterrupt) else 7 if isinstance(error, MemoryError) else 1
    return {"exit_code": code, "message": f"{type(error).__name__}: {error}", "hint": "", "rank": rank}


def acquire(out: Path | None, name: str, *, resume: bool, root: Path = Path("runs")) -> RunDirectory:
    """The directory to run in, locked: `out`, or a `runs/NAME`, `runs/NAME-2`, ... (to resume, the last)."""
    run = _named(out, resume=resume) if out is not None else _numbered(name, root, resume=resume)
    run.exit.unlink(missing_ok=True)
    return run


def _named(out: Path, *, resume: bool) -> RunDirectory:
    run = RunDirectory(out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file", "--out names the directory of a run")
    if run.started and not resume:
        raise UsageError(
            f"--out {out} is not empty",
            "go on with the run in it by --resume, or choose another directory by --out",
        )
    if not run.lock():
        raise UsageError(f"run directory in use: {out}", "wait for the other run, or choose another by --out")
    return run


def _numbered(name: str, root: Path, *, resume: bool) -> RunDirectory:
    """Whoever locks an unstarted directory has it, so two runs started at once get two directories."""
    number = 1
    candidate = RunDirectory(root / name)
    if resume:
        while (following := RunDirectory(root / f"{name}-{number + 1}")).started:
            number, candidate = number + 1, following
        return _named(candidate.path, resume=True)
    while True:
        if not candidate.started and candidate.lock():
            # Another run may have come and gone between the look and the lock.
            if not candidate.started:
                return candidate
            candidate.release()
        number += 1
        candidate = RunDirectory(root / f"{name}-{number}")
