"""A sweep: a pre-training run of each point, and linear probes of each run.

Each point is a run's directory under the sweep's folder, and what is told of it is read from there: a point
that is finished is not run again, and one that was interrupted goes on where it was saved.
"""

import gc
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import torch
from pydantic import Field

from catlipctl import recipe as recipes
from catlipctl.errors import CatlipctlError, Stopped, UsageError, as_known
from catlipctl.experiments.folder import RESULT, Folder, ProbeData, Row
from catlipctl.experiments.points import Point
from catlipctl.progress import SILENT, Progress
from catlipctl.reports.sweep import Series
from catlipctl.results import Measurement
from catlipctl.training.lock import Lock
from catlipctl.transfer.labelled import described
from catlipctl.transfer.probes import PROTOCOL


class Sweep(Measurement):
    """What a sweep has come to: `sweep.json`, written anew after each point.

    recipe: of the first point. files: figures.
    """

    protocol: str = PROTOCOL
    out: str
    keys: list[str]
    rows: list[Row]
    files: list[str] = Field(default_factory=list)

    def failure(self) -> CatlipctlError | None:
        """What to say where some points failed; the others stand."""
        failed = [row for row in self.rows if row.state == "failed"]
        if not failed:
            return None
        return CatlipctlError(
            f"{len(failed)} of {len(self.rows)} points failed: {', '.join(row.name for row in failed)}",
            "mend what is said of them, and give the same command: only these are tried again",
        )

    def series(self) -> dict[str, list[Series]]:
        """What the figure draws: panel (`cifar10, top-1`) -> a point for each probe, by the first key."""
        found: dict[str, list[Series]] = {}
        for row in self.rows:
            x, *others = (row.values[key] for key in self.keys)
            pairs = zip(self.keys[1:], others, strict=True)
            line = ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in pairs)
            for data, probe in row.probes.items():
                figures = {
                    f"{data}\nprobe, {probe.measure}": (probe.figure, probe.interval),
                    f"{data}\nzero-shot": (probe.zero_shot, probe.zero_shot_interval),
                }
                for panel, (figure, interval) in figures.items():
                    if figure is not None:
                        found.setdefault(panel, []).append(Series(line, x, figure, interval))
        return dict(sorted(found.items(), key=lambda item: "zero-shot" in item[0]))


def sweep(
    points: Sequence[Point],
    probes: Sequence[ProbeData],
    out: Path,
    *,
    cpu: bool = False,
    cache_dir: Path | None = None,
    start: Callable[[Point], int] | None = None,
    progress: Progress = SILENT,
) -> Sweep:
    """Bring all points to their end, one after the other, and write `sweep.json` after each.

    start: calls `Folder.work` on a point in processes of its own, and returns their exit code; None works in
    this process.
    A point whose run or probe fails is told, and the rest go on. Raises
    UsageError where `out` is not of these points, and Stopped at a signal: the
    same call then goes on.
    """
    folder = Folder(out, probes)
    folder.must_fit(points)
    errors: dict[str, str] = {}

    def written() -> Sweep:
        found = Sweep(
            out=str(out),
            keys=list(points[0].values),
            rows=[folder.row(point, errors.get(point.name)) for point in points],
            recipe=recipes.plain(points[0].recipe),
            data={data.name.removeprefix("lp-"): described(data.train) for data in folder.probes},
        )
        found.write(out / RESULT)
        return found

    with _held(out):
        written()
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
        return written()


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
def _held(out: Path) -> Iterator[None]:
    lock = Lock(out)
    if not lock.take():
        raise UsageError(f"another sweep is at work in {out}", "wait for it, or choose another --out")
    try:
        yield
    finally:
        lock.release()
