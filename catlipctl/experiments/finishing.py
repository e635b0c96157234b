"""Points brought to their end one after the other, in a folder that one call holds at a time."""

import gc
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import torch

from catlipctl.errors import CatlipctlError, Stopped, UsageError, as_known
from catlipctl.experiments.folder import Folder, Row
from catlipctl.experiments.points import Point
from catlipctl.progress import Progress
from catlipctl.training.lock import Lock


def finish_all(
    folder: Folder,
    points: Sequence[Point],
    errors: dict[str, str],
    written: Callable[[], object],
    *,
    cpu: bool,
    cache_dir: Path | None,
    start: Callable[[Point], int] | None = None,
    progress: Progress,
) -> None:
    """Train and probe all points. One that fails is told in `errors`, by its name, and the rest go on.

    written: called after each. start: calls `Folder.work` on a point in processes of its own, and returns
    their exit code; None works in this process. Raises Stopped at a signal: the same call then goes on.
    """
    for number, point in enumerate(points, 1):
        progress.note(f"point {number} of {len(points)}: {point.name}")
        if folder.is_finished(point):
            progress.note("finished before")
            continue
        try:
            for _ in folder.left(point):
                if start is None:
                    folder.work(point, cpu=cpu, cache_dir=cache_dir, progress=progress)
                elif code := start(point):
                    _raise(folder.refused(point, code))
        except Exception as error:
            errors[point.name] = _told(error, progress)
        finally:
            written()
        # What the point's tower had of a device goes back before the next one asks.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def failure(rows: Sequence[Row]) -> CatlipctlError | None:
    """What to say where some points failed; the others stand."""
    failed = [row for row in rows if row.state == "failed"]
    if not failed:
        return None
    return CatlipctlError(
        f"{len(failed)} of {len(rows)} points failed: {', '.join(row.name for row in failed)}",
        "mend what is said of them, and give the same command: only these are tried again",
    )


def _raise(error: CatlipctlError) -> NoReturn:
    """Raise what ended a point's processes, and Stopped where that was a signal."""
    if error.exit_code in (75, 130):
        raise Stopped(error.message, error.hint, exit_code=error.exit_code)
    raise error


def _told(error: Exception, progress: Progress) -> str:
    """Why a point failed, in words: the error itself would keep its tensors alive."""
    known = as_known(error)
    if os.environ.get("CATLIPCTL_DEBUG"):
        progress.note("".join(traceback.format_exception(error)))
    progress.warn(f"this point failed: {known.message}")
    return f"{known.message} (exit {known.exit_code}; {known.hint})" if known.hint else known.message


@contextmanager
def held(out: Path, what: str) -> Iterator[None]:
    """The folder belongs to this process inside the body; UsageError where another one has it."""
    lock = Lock(out)
    if not lock.take():
        raise UsageError(f"another {what} is at work in {out}", "wait for it, or choose another --out")
    try:
        yield
    finally:
        lock.release()
