"""What runs there are under a folder, and how each of them fares; from their files alone."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from catlipctl.errors import CatlipctlError, UsageError
from catlipctl.reports import findings, logs
from catlipctl.results import Result
from catlipctl.training.directory import RunDirectory

State = Literal["running", "complete", "stopped", "failed", "killed"]
"""Stopped: saved at a signal, to be gone on with. Killed: it is not at work, and did not say why."""
STOPPED = (75, 130)
"""Exit codes of a run that saved at a signal."""
ROOT = Path("runs")


class RunSummary(BaseModel):
    """One run. Loss and images/s are those of the last row that it has logged; age: since it was at work.

    exit_code, message: how its last start ended, None while it runs, or where it was killed. steps: in all,
    None where the run does not say. mfu: of `peak`, the published one of its devices, where that is known.
    """

    path: str
    state: State
    exit_code: int | None
    message: str
    step: int
    steps: int | None
    loss: float | None
    images_per_second: float | None
    mfu: float | None
    peak: str | None
    age_seconds: float


class Runs(Result):
    """The runs under a folder, the one that was at work last first."""

    folder: str
    runs: list[RunSummary]


class Shown(Result):
    """Runs with their curves: of each run, by measure, at most 500 points (samples seen, value)."""

    runs: list[RunSummary]
    curves: dict[str, dict[str, list[tuple[int, float]]]]
    files: list[str]


def runs(folder: Path = ROOT) -> Runs:
    """The runs in a folder, with fine-tuning runs under them; the folder's own where it is one itself."""
    return Runs(folder=str(folder), runs=[summary(path) for path in found(folder)])


def found(folder: Path) -> list[Path]:
    """The runs' folders, the one that was at work last first."""
    places = [folder] if _is_run(folder) else [*folder.glob("*"), *folder.glob("*/eval/*")]
    return sorted(filter(_is_run, places), key=lambda path: RunDirectory(path).worked_at, reverse=True)


def named(names: Sequence[Path]) -> list[Path]:
    """Each run by its path, or by its name under ./runs; of none given the one that was at work last.

    UsageError for a name that is no run's, or where there is no run.
    """
    if not names:
        newest = found(ROOT)[:1]
        if not newest:
            raise UsageError(f"no run under {ROOT}/", "start one: catlipctl pretrain")
        return newest
    return [_named(name) for name in names]


def summary(path: Path) -> RunSummary:
    """How one run fares."""
    run = RunDirectory(path)
    ended = run.ended
    state: State = "killed"
    if run.in_use:
        state = "running"
    elif run.was_complete:
        state = "complete"
    elif ended is not None:
        state = "stopped" if ended.exit_code in STOPPED else "failed"
    last, start = logs.last_logged(run.metrics), _last_start(run)
    return RunSummary(
        path=str(path),
        state=state,
        exit_code=None if ended is None else ended.exit_code,
        message="" if ended is None else ended.message,
        step=last.step if last else 0,
        steps=_steps(run, start),
        loss=last.loss if last else None,
        images_per_second=last.images_per_second if last else None,
        mfu=last.mfu if last else None,
        peak=_peak(start),
        age_seconds=round(max(0.0, time.time() - run.worked_at), 1),
    )


def _last_start(run: RunDirectory) -> Mapping[str, Any]:
    """What the last start has said of itself; nothing where that cannot be read."""
    try:
        return next(reversed(logs.rows(run.starts)), {})
    except CatlipctlError:
        return {}


def _steps(run: RunDirectory, start: Mapping[str, Any]) -> int | None:
    """In all, as the last start has counted; of runs of earlier versions, where their recipe says it."""
    if isinstance(steps := start.get("steps"), int):
        return steps
    try:
        return findings.recipe(run.recipe).length.steps if run.recipe.exists() else None
    except CatlipctlError:
        return None


def _peak(start: Mapping[str, Any]) -> str | None:
    peak = start.get("peak")
    if not isinstance(peak, dict) or not isinstance(flops := peak.get("flops"), int | float):
        return None
    return f"{flops / 1e12:,.0f} TFLOP/s ({peak.get('of')})"


def _is_run(path: Path) -> bool:
    # A folder of an evaluation, `eval/lp-1`, holds no recipe.
    return path.is_dir() and (RunDirectory(path).is_run or findings.is_run(path))


def _named(name: Path) -> Path:
    for path in (name, ROOT / name):
        if _is_run(path):
            return path
    known = ", ".join(path.name for path in found(ROOT)[:8])
    raise UsageError(f"no run at {name}", f"runs under {ROOT}/: {known}" if known else "catlipctl runs")
