"""A sweep: a pre-training run of each point, and linear probes of each run.

Each point is a run's directory under the sweep's folder, and what is told of it is read from there: a point
that is finished is not run again, and one that was interrupted goes on where it was saved.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from catlipctl import recipe as recipes
from catlipctl.errors import CatlipctlError, UsageError
from catlipctl.experiments.finishing import failure, finish_all, held
from catlipctl.experiments.folder import Folder, ProbeData, Row, earlier
from catlipctl.experiments.points import Point
from catlipctl.progress import SILENT, Progress
from catlipctl.reports.sweep import Series
from catlipctl.results import Measurement
from catlipctl.transfer.labelled import described
from catlipctl.transfer.probes import PROTOCOL

RESULT = "sweep.json"


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
        return failure(self.rows)

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


class _Begun(BaseModel):
    """What of an earlier `sweep.json` must be the same."""

    model_config = ConfigDict(extra="ignore")

    keys: list[str]


def must_fit(folder: Folder, points: Sequence[Point]) -> None:
    """UsageError where something else lies in the folder, or a point was begun by another recipe."""
    begun = earlier(folder.path, RESULT, _Begun)
    if begun is not None and begun.keys != list(points[0].values):
        raise UsageError(
            f"{folder.path} holds something else than this sweep", "name another folder by --out"
        )
    folder.must_fit(points)


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
    must_fit(folder, points)
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

    with held(out, "sweep"):
        written()
        finish_all(
            folder, points, errors, written, cpu=cpu, cache_dir=cache_dir, start=start, progress=progress
        )
        return written()
