"""What a sweep would run, and what each of its points would cost."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from catlipctl.experiments.folder import Folder, ProbeData, State
from catlipctl.experiments.points import Point
from catlipctl.experiments.sweep import must_fit
from catlipctl.pretraining.checks import Place, Refusal
from catlipctl.pretraining.dry_run import dry_run
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Result


class Planned(BaseModel):
    """A point that is yet to be run, or a part of it: what `pretrain --dry-run` says of it."""

    name: str
    state: State
    steps: int | None
    steps_before: int
    images: int | None
    vocabulary_size: int | None
    parameters: int
    flops: float | None
    gpu_hours: float | None
    seconds: float | None
    refusals: list[Refusal]


class Plan(Result):
    """What a sweep would run. seconds: of training, of all points that are not finished."""

    out: str
    points: list[Planned]
    seconds: float | None


def plan(
    points: Sequence[Point],
    probes: Sequence[ProbeData],
    out: Path,
    *,
    gpus: int | None = None,
    processes: int | None = None,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Plan:
    """What `sweep` would do, with nothing written; it raises what `sweep` would before its first point."""
    folder = Folder(out, probes)
    must_fit(folder, points)
    found = []
    for point in points:
        state = folder.row(point).state
        place = Place(gpus, processes, out / point.name, resume=True, cache_dir=cache_dir)
        cost = dry_run(point.loaded, place, progress=progress)
        left = cost.model_dump(include=set(Planned.model_fields) - {"refusals"})
        found.append(Planned(**left, name=point.name, state=state, refusals=cost.refusals))
    costs = [0.0 if point.state == "finished" else point.seconds for point in found]
    told = [cost for cost in costs if cost is not None]
    return Plan(out=str(out), points=found, seconds=sum(told) if len(told) == len(costs) else None)
