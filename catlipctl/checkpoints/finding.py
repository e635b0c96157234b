"""Which directory is meant: a checkpoint itself, the newest complete step of a run, the newest run."""

import re
import time
from pathlib import Path
from typing import NamedTuple

from catlipctl.checkpoints import manifest
from catlipctl.errors import CheckpointError

POINTER = "latest"
NAMES = "name a run, its checkpoints/, or one step-*"
_STEP = re.compile(r"step-\d{8,}")


class NewestRun(NamedTuple):
    """A run's folder, and how long ago its newest checkpoint was written."""

    path: Path
    age_seconds: float


def step_name(step: int) -> str:
    """The folder of a step: `step-00001000`."""
    return f"step-{step:08d}"


def complete_steps(run: Path) -> list[Path]:
    """The run's complete checkpoints, the newest first."""
    found = [path for path in (run / "checkpoints").glob("step-*") if _STEP.fullmatch(path.name)]
    found.sort(key=lambda path: int(path.name.removeprefix("step-")), reverse=True)
    return [path for path in found if manifest.complete(path)]


def pointed(run: Path) -> Path | None:
    """The checkpoint that the run's pointer names, whether or not it is complete."""
    try:
        name = (run / "checkpoints" / POINTER).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return run / "checkpoints" / name if _STEP.fullmatch(name) else None


def latest(run: Path) -> Path | None:
    """The checkpoint that `latest` names if that is complete, else the run's newest complete one."""
    named = pointed(run)
    if named is not None and manifest.complete(named):
        return named
    return next(iter(complete_steps(run)), None)


def resolve(spec: str | Path) -> Path:
    """The checkpoint directory that a path means: itself, or a run's (or its `checkpoints/`'s) latest.

    Raises CheckpointError where there is none, or only a half-written one.
    """
    path = Path(spec)
    if not path.exists():
        raise CheckpointError(f"no checkpoint at {path}", NAMES)
    if not path.is_dir():
        raise CheckpointError(f"{path} is a file; a checkpoint is a directory", f"try {path.parent}")
    if (path / manifest.NAME).exists():
        return path
    run = path.parent if path.name == "checkpoints" else path
    if (run / "checkpoints").is_dir():
        if (found := latest(run)) is not None:
            return found
        raise CheckpointError(
            f"{run} has no complete checkpoint yet", "let the run reach its first save, or name another run"
        )
    if _STEP.fullmatch(path.name) or (path / "config.json").exists():
        manifest.read(path)  # raises: half-written
    raise CheckpointError(f"{path} is not a checkpoint", NAMES)


def newest_run(root: Path = Path("runs")) -> NewestRun:
    """The run under `root` whose checkpoint was written last; CheckpointError where no run has one."""
    folders = root.iterdir() if root.is_dir() else ()
    found = [(run, step) for run in folders if (step := latest(run)) is not None]
    if not found:
        raise CheckpointError(f"no run with a checkpoint under {root}/", "catlipctl pretrain")
    ages = [(time.time() - (step / manifest.NAME).stat().st_mtime, run) for run, step in found]
    age, run = min(ages)
    return NewestRun(run, max(0.0, age))
