"""A run's directory: it holds one run, is never overwritten, and belongs to one process group at a time.

`exit.json` says how its last start ended, `starts.jsonl` how each began, `recipe.yaml` what it trains by.
"""

import errno
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from catlipctl import files
from catlipctl import recipe as recipes
from catlipctl.errors import CatlipctlError, CheckpointError, Stopped, UsageError
from catlipctl.training.hub import Failure
from catlipctl.training.lock import Lock

UNSTARTED = {"lock", "lock.json", "exit.json", "recipe.yaml", "starts.jsonl", "tensorboard", "wandb"}
"""What a run that failed before its vocabulary leaves behind: nothing that a new run could harm."""

_LEFTOVER = re.compile(r"\..+\.tmp")
"""What a process leaves that was killed while it wrote."""

EXIT = files.FileKind("the record of a run's end", 2**20, CheckpointError, "delete it")
STARTS = files.FileKind("the log of a run's starts", 2**26, CheckpointError, "delete it")


class ExitRecord(BaseModel):
    """`exit.json`: how a run ended, as the first of its processes said."""

    exit_code: int
    message: str
    hint: str
    rank: int
    time: str
    complete: bool | None = None


class RunDirectory:
    """A directory held by this process group until it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.vocabulary = path / "vocabulary.json"
        self.metrics = path / "metrics.jsonl"
        self.evaluations = path / "evaluations.jsonl"
        self.starts = path / "starts.jsonl"
        self.exit = path / "exit.json"
        self.complete = False
        """Is nothing left to be done? `exit.json` keeps it; a start that is refused leaves it as it was."""
        self._lock = Lock(path)

    def lock(self) -> bool:
        """Hold the directory, creating it, until this process ends; False if another process holds it."""
        return self._lock.take()

    def release(self) -> None:
        """Let go of the directory."""
        self._lock.release()

    @property
    def without_flock(self) -> bool:
        """Does its file system know no `flock`? Asked once it is held."""
        return self._lock.without_flock

    def discard_unstarted(self) -> None:
        """Take the directory away where a start failed before anything worth keeping; the lock is held."""
        if self.started or self.path.is_symlink():
            return
        aside = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.tmp")
        with suppress(OSError):
            os.replace(self.path, aside)
            shutil.rmtree(aside)

    @property
    def in_use(self) -> bool:
        """Is a run at work here now?"""
        return self._lock.taken

    @property
    def ended(self) -> ExitRecord | None:
        """How its last start ended; None where it did not say, or has not ended."""
        try:
            return EXIT.read_json(self.exit, ExitRecord)
        except CheckpointError:
            return None

    @property
    def started(self) -> bool:
        """Does it hold anything that a new run could harm?"""
        if not self.path.is_dir():
            return False
        names = {entry.name for entry in self.path.iterdir()} - UNSTARTED
        if "metrics.jsonl" in names and self.metrics.stat().st_size == 0:
            names.remove("metrics.jsonl")
        return self.foreign or any(not _LEFTOVER.fullmatch(name) for name in names)

    @property
    def foreign(self) -> bool:
        """Does a recipe lie in it that no run wrote, but a person?"""
        ours = self.path / "lock", self.path / "checkpoints"
        return self.recipe.exists() and not any(path.exists() for path in ours)

    @property
    def is_run(self) -> bool:
        """Has a run written its recipe here?"""
        return self.recipe.exists() and not self.foreign

    @property
    def was_complete(self) -> bool:
        """Did its last start leave it complete?"""
        if (ended := self.ended) is None:
            return False
        # Runs of version 0.1 say it by their exit code alone.
        return ended.exit_code == 0 if ended.complete is None else ended.complete

    @property
    def worked_at(self) -> float:
        """When a run was last at work here, in seconds since 1970; 0 where none was."""
        paths = (self.recipe, self.vocabulary, self.metrics)
        return max((path.stat().st_mtime for path in paths if path.exists()), default=0.0)

    def write_recipe(self, recipe: BaseModel) -> None:
        """Write `recipe.yaml`."""
        files.write_text(self.recipe, recipes.dump(recipe))

    def add_start(self, row: dict[str, Any]) -> None:
        """Append a row to `starts.jsonl`."""
        # A damaged row is no reason not to start.
        before = STARTS.read_bytes(self.starts).decode(errors="replace") if self.starts.exists() else ""
        files.write_text(self.starts, before + json.dumps(row, ensure_ascii=False) + "\n")

    @contextmanager
    def recording_exit(
        self, rank: int, agreed: Callable[[BaseException], Failure] | None = None
    ) -> Iterator[None]:
        """Write `exit.json` at the end of the body; the first of all processes to fail is the one recorded.

        torchrun and accelerate launch return 1 whatever their children said. agreed: an error of this process
        -> why all end (`Peers.agreed`). A process that fails because another one is gone raises the other's.
        """
        try:
            yield
        except BaseException as error:
            own = Failure.of(error, rank)
            first = self.record(agreed(error) if agreed else own)
            # A launcher that misses a process ends the others by a signal.
            asked = isinstance(error, Stopped) and first.exit_code in (75, 130)
            if first != own and not asked and not isinstance(error, CatlipctlError):
                raise first.error(rank) from error
            raise
        if rank == 0:
            self.complete = True
            self.record(Failure(0, "complete", "", 0))

    def record(self, failure: Failure) -> Failure:
        """Write `exit.json`, if no process has; what stands in it."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        text = json.dumps({**asdict(failure), "complete": self.complete, "time": now}, indent=2) + "\n"
        temporary = self.path / f".exit.json.{secrets.token_hex(4)}.tmp"
        # What cannot be recorded (a full disk) must not hide the error that was to be recorded.
        with suppress(OSError, CheckpointError):
            temporary.write_text(text, encoding="utf-8")
            try:
                os.link(temporary, self.exit)
            except FileExistsError:
                there = EXIT.read_json(self.exit, ExitRecord)
                return Failure(there.exit_code, there.message, there.hint, there.rank)
            except OSError:
                # A file system without hard links: there the last one to fail is recorded.
                os.replace(temporary, self.exit)
            finally:
                temporary.unlink(missing_ok=True)
        return failure


def acquire(out: Path | None, name: str, *, resume: bool, root: Path = Path("runs")) -> RunDirectory:
    """The directory to run in, locked: `out`, or a `runs/NAME`, `runs/NAME-2`, ... (to resume, the last)."""
    run = _named(out, resume=resume) if out is not None else _numbered(name, root, resume=resume)
    run.complete = run.was_complete
    run.exit.unlink(missing_ok=True)
    return run


def would_take(out: Path | None, name: str, *, resume: bool, root: Path = Path("runs")) -> RunDirectory:
    """The directory that `acquire` would take, with nothing written; raises what it would."""
    if out is None and not resume:
        run = next(run for run in _candidates(name, root) if not run.started)
    else:
        run = _fitting(out or _last(name, root), resume=resume)
        if (run.path / "lock").exists():
            _locked(run)
            run.release()
    there = next(folder for folder in (run.path, *run.path.absolute().parents) if folder.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise CatlipctlError(
            f"{run.path}: {os.strerror(errno.EACCES)}", "choose a folder that you may write to"
        )
    return run


def _named(out: Path, *, resume: bool) -> RunDirectory:
    return _locked(_fitting(out, resume=resume))


def _fitting(out: Path, *, resume: bool) -> RunDirectory:
    run = RunDirectory(out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file", "--out names the directory of a run")
    if run.foreign:
        raise UsageError(
            f"--out {out} holds a recipe.yaml that no run wrote, and a run writes its own under this name",
            "choose another directory by --out",
        )
    if run.started and not resume:
        raise UsageError(
            f"--out {out} is not empty",
            "go on with the run in it by --resume, or choose another directory by --out",
        )
    return run


def _locked(run: RunDirectory) -> RunDirectory:
    if not run.lock():
        raise UsageError(
            f"run directory in use: {run.path}", "wait for the other run, or choose another by --out"
        )
    return run


def _numbered(name: str, root: Path, *, resume: bool) -> RunDirectory:
    """Whoever locks an unstarted directory has it, so two runs started at once get two directories."""
    if resume:
        return _named(_last(name, root), resume=True)
    for candidate in _candidates(name, root):
        if not candidate.started and candidate.lock():
            # Another run may have come and gone between the look and the lock.
            if not candidate.started:
                return candidate
            candidate.release()
    raise AssertionError("there is always another number")


def _candidates(name: str, root: Path) -> Iterator[RunDirectory]:
    """ROOT/NAME, ROOT/NAME-2, ... without end."""
    yield RunDirectory(root / name)
    yield from (RunDirectory(root / f"{name}-{number}") for number in count(2))


def _last(name: str, root: Path) -> Path:
    """The run called NAME that is to be resumed where none is named: the one of the highest number."""
    runs = numbered(name, root)
    return max(runs, key=lambda path: runs[path], default=root / name)


def numbered(name: str, root: Path = Path("runs")) -> dict[Path, int]:
    """The started runs NAME and NAME-<number> under `root`, with their numbers; NAME's is 1."""
    number = re.compile(re.escape(name) + r"(?:-([0-9]+))?")
    return {
        path: int(match[1] or 1)
        for path in (root.iterdir() if root.is_dir() else ())
        if (match := number.fullmatch(path.name)) and RunDirectory(path).started
    }
