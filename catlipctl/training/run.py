"""A run: its processes, its signals and its directory, which holds one run and is never overwritten.

`exit.json` says how it ended, `recipe.yaml` what it was started with.
"""

import errno
import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from catlipctl import files
from catlipctl import recipe as recipes
from catlipctl.errors import CatlipctlError, Stopped, UsageError
from catlipctl.progress import SILENT, Progress
from catlipctl.recipe import schema
from catlipctl.signals import Signals, answered
from catlipctl.training.world import World

T = TypeVar("T")

UNSTARTED = {"lock", "exit.json", "recipe.yaml"}
"""What a run that failed before its vocabulary leaves behind: nothing that a new run could harm."""

_LEFTOVER = re.compile(r"\..+\.tmp")
"""What a process leaves that was killed while it wrote."""

_held: set[int] = set()
"""Descriptors of the locks that this process holds."""


def _let_go() -> None:
    """In a forked child, a loader's worker: it would hold the lock for seconds after a parent was killed."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


@dataclass(frozen=True)
class Run:
    """A run under way, in each of its processes; only the first one's progress is heard."""

    task: str
    world: World
    signals: Signals
    directory: "RunDirectory"
    progress: Progress

    def on_main(self, function: Callable[[], T]) -> T:
        """What `function` returns in the first process, in all of them; so its error, too."""
        return self.world.on_main(function)


@contextmanager
def begin(
    task: str,
    out: Path | None,
    name: str,
    *,
    root: Path = Path("runs"),
    resume: bool = False,
    cpu: bool = False,
    progress: Progress = SILENT,
) -> Iterator[Run]:
    """A run of a task (`pretrain`) in `out`, or in a new ROOT/NAME, alone or as one of several processes.

    `exit.json` is written as the body ends. Raises UsageError where the directory is in use or not empty.
    """
    held: list[RunDirectory] = []

    def take_directory() -> Path:
        held.append(acquire(out, name, resume=resume, root=root))
        return held[0].path

    with answered() as signals:
        signals.trained = False
        try:
            world = World(cpu=cpu)
            directory = RunDirectory(world.on_main(take_directory))
            with directory.recording_exit(world.rank):
                yield Run(task, world, signals, directory, progress if world.is_main else SILENT)
                world.close()
        finally:
            signals.trained = None
            for directory in held:
                directory.release()


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
        _held.add(descriptor)
        return True

    def release(self) -> None:
        """Let go of the directory."""
        if self._lock in _held:
            _held.remove(self._lock)
            os.close(self._lock)
        self._lock = None

    @property
    def started(self) -> bool:
        """Does it hold anything that a new run could harm?"""
        if not self.path.is_dir():
            return False
        names = {entry.name for entry in self.path.iterdir()}
        return self.foreign or any(not _LEFTOVER.fullmatch(name) for name in names - UNSTARTED)

    @property
    def foreign(self) -> bool:
        """Does a recipe lie in it that no run wrote, but a person?"""
        ours = self.path / "lock", self.path / "checkpoints"
        return self.recipe.exists() and not any(path.exists() for path in ours)

    def settle_recipe(self, recipe: BaseModel, *, resume: bool, free: Collection[str]) -> None:
        """Write `recipe.yaml`; on resuming compare with the one there, but for the keys that are `free`.

        That one stays until all else is found to fit, too: a refused resume changes no file. UsageError shows
        the differences.
        """
        if resume and self.recipe.exists() and self.started:
            refuse_changes(self.recipe, recipe, free)
        else:
            self.write_recipe(recipe)

    def write_recipe(self, recipe: BaseModel) -> None:
        """Write `recipe.yaml`."""
        files.write_text(self.recipe, recipes.dump(recipe))

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
            if first["rank"] != rank and not isinstance(error, CatlipctlError | Stopped):
                other = CatlipctlError(f"process {first['rank']}: {first['message']}", first["hint"])
                other.exit_code = first["exit_code"]
                raise other from error
            raise
        if rank == 0:
            self._record({"exit_code": 0, "message": "complete", "hint": "", "rank": 0})

    def _record(self, record: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps({**record, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}, indent=2) + "\n"
        temporary = self.path / f".exit.json.{secrets.token_hex(4)}.tmp"
        # What cannot be recorded (a full disk) must not hide the error that was to be recorded.
        with suppress(OSError):
            temporary.write_text(text, encoding="utf-8")
            try:
                os.link(temporary, self.exit)
            except FileExistsError:
                return {**record, **json.loads(self.exit.read_text(encoding="utf-8"))}
            except OSError:
                # A file system without hard links: there the last one to fail is recorded.
                os.replace(temporary, self.exit)
            finally:
                temporary.unlink(missing_ok=True)
        return record


def _as_record(error: BaseException, rank: int) -> dict[str, Any]:
    if isinstance(error, CatlipctlError | Stopped):
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
    if run.foreign:
        raise UsageError(
            f"--out {out} holds a recipe.yaml that is no run's, and a run writes its own under this name",
            "choose another directory by --out",
        )
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
    if resume:
        return _named(newest(name, root), resume=True)
    number = 1
    candidate = RunDirectory(root / name)
    while True:
        if not candidate.started and candidate.lock():
            # Another run may have come and gone between the look and the lock.
            if not candidate.started:
                return candidate
            candidate.release()
        number += 1
        candidate = RunDirectory(root / f"{name}-{number}")


def newest(name: str, root: Path = Path("runs")) -> Path:
    """The started run NAME or NAME-<number> of the largest number; NAME itself where none has started."""
    number = re.compile(re.escape(name) + r"(?:-([0-9]+))?")
    found = [
        (int(match[1] or 1), path)
        for path in (root.iterdir() if root.is_dir() else ())
        if (match := number.fullmatch(path.name)) and RunDirectory(path).started
    ]
    return max(found, default=(1, root / name))[1]


def refuse_changes(path: Path, recipe: BaseModel, free: Collection[str]) -> None:
    """UsageError with a diff if a recipe differs from the run's own, at `path`, in what decides its losses.

    The one there is read through today's schema, so a key that has come since has its default in both.
    """
    there = recipes.load(type(recipe), path, environment={}).value
    before, after = (
        {key: value for key, value in schema.leaves(of) if key not in free} for of in (there, recipe)
    )
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    if changed:
        difference = [f"  {key}: {before.get(key)} in {path}, {after.get(key)} now" for key in changed]
        raise UsageError(
            "the recipe is not the one that this run was started with\n" + "\n".join(difference),
            "resume without these changes, or start another run by --out",
        )
