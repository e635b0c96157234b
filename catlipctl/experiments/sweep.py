"""A sweep: the same recipe pre-trained for every point of a grid, and each run probed.

Each point is a run of its own in the sweep's folder, with its probes under it. What is complete is not made
again, and a run that was stopped goes on exactly. `sweep.json` is written anew after each point.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from catlipctl import checkpoints, pretraining
from catlipctl.data import Source
from catlipctl.errors import CatlipctlError, Stopped, UsageError
from catlipctl.experiments.points import Point
from catlipctl.labels.targets import LabelSet
from catlipctl.pretraining.checks import Place
from catlipctl.pretraining.dry_run import dry_run
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Measurement, Result
from catlipctl.transfer import ProbeResult, linear_probe
from catlipctl.transfer.metrics import Interval
from catlipctl.transfer.metrics.answers import RESULT

PROTOCOL = "sweep: a run a point, each by the linear probe, fast"
FILE = "sweep.json"


class Probed(BaseModel):
    """A linear probe of one point; accuracies in 0..1. zero_shot_acc1: None where no class has a row."""

    data: str
    acc1: float
    acc1_interval: Interval
    zero_shot_acc1: float | None


class SweptPoint(BaseModel):
    """One point, and what came of it.

    changes: of the recipe, by key. status: `failed` with its fault, where training or a probe could not go
    on; the rest is then of what was reached. seconds: of training.
    """

    name: str
    changes: dict[str, str]
    seed: int
    run: str
    status: Literal["complete", "failed"]
    fault: str = ""
    steps: int | None = None
    samples: int | None = None
    seconds: float | None = None
    final_loss: float | None = None
    vocabulary_size: int | None = None
    probes: list[Probed] = Field(default_factory=list)


class PlannedPoint(BaseModel):
    """What one point would cost: images and operations of its run, hours of an H100; None where unknown."""

    name: str
    images: int | None
    flops: float | None
    gpu_hours: float | None


class SweepPlan(Result):
    """What `--dry-run` tells. gpu_hours: of all points together."""

    points: list[PlannedPoint]
    gpu_hours: float


class SweepResult(Measurement):
    """All points so far. keys: those that were swept. points: how many there are in all."""

    protocol: str = PROTOCOL
    folder: str
    keys: list[str]
    points: int
    rows: list[SweptPoint]


@dataclass(frozen=True)
class Task:
    """What each run is probed on.

    data: as it was named. folder: of the probe, under the run's eval/. test: None holds a fifth of `train`
    out.
    """

    data: str
    folder: str
    train: Source
    test: Source | None
    target: LabelSet | None


def sweep(
    points: Sequence[Point],
    tasks: Sequence[Task],
    folder: Path,
    *,
    seed: int = 0,
    workers: int = 0,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> SweepResult:
    """Pre-train and probe every point into `folder`, which an earlier call may have begun.

    seed: of the probes' splits, the same for all points. A point that fails is a row, and the others go on.
    Raises UsageError for a folder of another sweep and what a run refuses, before it trains.
    """
    keys = list(points[0].changes)
    result = SweepResult(folder=str(folder), keys=keys, points=len(points), rows=[], seed=seed)
    result.inputs = {"data": " ".join(task.data for task in tasks)}
    _must_be_ours(folder, result)
    for number, point in enumerate(points, start=1):
        progress.note(f"{number} of {len(points)}  {point.name}")
        result.rows.append(_made(point, tasks, folder / point.name, seed, workers, cache_dir, progress))
        result.write(folder / FILE)
    return result


def plan(points: Sequence[Point], *, cache_dir: Path | None = None, progress: Progress = SILENT) -> SweepPlan:
    """The cost of every point, as `pretrain --dry-run` tells it; raises the first refusal of this machine."""
    found = []
    for point in points:
        cost = dry_run(point.loaded, Place(name=point.name, cache_dir=cache_dir), progress=progress)
        if (error := cost.refused()) is not None:
            raise error
        found.append(
            PlannedPoint(name=point.name, images=cost.images, flops=cost.flops, gpu_hours=cost.gpu_hours)
        )
    return SweepPlan(points=found, gpu_hours=sum(one.gpu_hours or 0 for one in found))


def _must_be_ours(folder: Path, result: SweepResult) -> None:
    if not folder.exists():
        return
    written = folder / FILE
    there = json.loads(written.read_text(encoding="utf-8")) if written.is_file() else {}
    if there.get("keys", result.keys) != result.keys or (not there and not _holds_runs_alone(folder)):
        raise UsageError(f"{folder} holds something else than this sweep", "name another folder by --out")


def _holds_runs_alone(folder: Path) -> bool:
    """Of a sweep that was stopped in its first point."""
    return all((path / "recipe.yaml").is_file() or path.name.startswith(".") for path in folder.iterdir())


def _made(
    point: Point,
    tasks: Sequence[Task],
    run: Path,
    seed: int,
    workers: int,
    cache_dir: Path | None,
    progress: Progress,
) -> SweptPoint:
    row = SweptPoint(name=point.name, changes=point.changes, seed=point.seed, run=str(run), status="complete")
    try:
        trained = pretraining.pretrain(
            point.loaded.value, out=run, resume=True, cache_dir=cache_dir, progress=progress
        )
        row.steps, row.samples, row.seconds = trained.steps, trained.samples, trained.seconds
        row.final_loss, row.vocabulary_size = trained.final_loss, trained.vocabulary_size
        for task in tasks:
            row.probes.append(_probed(task, run, seed, workers, progress))
    except Stopped as stopped:
        stopped.hint = "the same command goes on where it stopped"
        raise
    except UsageError:
        raise  # the same for all points, or a folder that is not ours
    except CatlipctlError as error:
        progress.warn(f"{point.name} failed: {error.message}")
        row.status, row.fault = "failed", error.message
    return row


def _probed(task: Task, run: Path, seed: int, workers: int, progress: Progress) -> Probed:
    out = run / "eval" / task.folder
    if (out / RESULT).is_file():
        document = json.loads((out / RESULT).read_text(encoding="utf-8"))
    else:
        found = linear_probe(
            checkpoints.load(run),
            task.train,
            task.test,
            target=task.target,
            seed=seed,
            out=out,
            workers=workers,
            progress=progress,
        )
        if not isinstance(found, ProbeResult):
            raise UsageError(
                f"an image of {task.data} may have several labels",
                "sweep with classes that exclude each other",
            )
        document = found.document()
    return Probed(data=task.data, **{name: document[name] for name in Probed.model_fields if name != "data"})
