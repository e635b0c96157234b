"""A sweep's folder: a run of each point with its probes, and what of them is done."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, Field

from catlipctl import checkpoints
from catlipctl import vocabulary as vocabularies
from catlipctl.data import Source, emoji
from catlipctl.data.sources.locate import slug
from catlipctl.errors import CatlipctlError, UsageError
from catlipctl.experiments import usage
from catlipctl.experiments.points import Point
from catlipctl.labels import targets
from catlipctl.labels.targets import LabelSet
from catlipctl.pretraining import pretrain
from catlipctl.pretraining.pretrain import RULES
from catlipctl.progress import SILENT, Progress
from catlipctl.reports import findings
from catlipctl.reports.measured import Interval, Measured
from catlipctl.training.directory import RunDirectory
from catlipctl.training.report import read_metrics
from catlipctl.transfer import linear_probe
from catlipctl.transfer.labelled import described, open_splits
from catlipctl.transfer.probes.linear import Init

M = TypeVar("M", bound=BaseModel)
State = Literal["waiting", "interrupted", "failed", "finished"]


class Probed(BaseModel):
    """A point's linear probe on one data set, in 0..1.

    measure: what `figure` is. chance: that of no knowledge.
    zero_shot: of the mapped head, None where no class has a row. result: the file that has all of it.
    """

    measure: str
    figure: float
    interval: Interval | None
    chance: float
    zero_shot: float | None
    zero_shot_interval: Interval | None
    result: str


class Row(BaseModel):
    """A point as it stands. steps, seconds of training and loss: of the last row of its `metrics.jsonl`.

    values: by swept key. cpu_seconds: of all cores, with what comes before and after the steps; None where a
    kill has lost some, or several processes trained. probes: by the data set's short name. error: why this
    call could not finish it.
    """

    name: str
    values: dict[str, Any]
    seed: int
    run: str
    state: State
    steps: int = 0
    seconds: float = 0
    cpu_seconds: float | None = None
    final_loss: float | None = None
    vocabulary_size: int | None = None
    probes: dict[str, Probed] = Field(default_factory=dict)
    error: str | None = None


class ProbeData(NamedTuple):
    """A labelled SOURCE to probe on. name: of the folder of its results. content: a hash of its images."""

    name: str
    train: Source
    test: Source | None
    target: LabelSet | None
    content: str


def open_probes(
    probes: Sequence[str],
    target: LabelSet | None = None,
    *,
    label_key: str | None = None,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> list[ProbeData]:
    """The data of all probes, as `eval lp --data` opens it.

    target: the label set of their classes; None maps the names themselves. UsageError where two would have
    one name, DataError for bad data.
    """
    opened = []
    for spec in probes:
        train, test = open_splits(spec, label_key=label_key, cache_dir=cache_dir, progress=progress)
        own = targets.load("emoji") if target is None and spec.startswith(emoji.TRANSFER) else target
        opened.append(ProbeData(f"lp-{slug(spec)}", train, test, own, str(described(train)["hash"])))
    names = [data.name for data in opened]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(
            f"two probes would both be called {twice[0]}", "give their folders names of their own"
        )
    return opened


def earlier(folder: Path, result: str, schema: type[M]) -> M | None:
    """What an earlier call has written of itself to a folder; None where nothing lies there yet.

    UsageError where something else does.
    """
    if (folder / result).exists():
        return findings.KIND.read_json(folder / result, schema)
    # A kill may have come between the lock and the first summary.
    there = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if not there <= {"lock", "lock.json"} or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{folder} holds no {result}, but something else", "name another folder by --out")
    return None


@lru_cache(1000)
def _classes(vocabulary: Path, written: int) -> int:  # noqa: ARG001
    """How many a vocabulary has; written: when, for a run that is begun anew may have another one."""
    return len(vocabularies.load(vocabulary))


@dataclass(frozen=True)
class Folder:
    """An experiment's folder: what of each point is done there.

    init: of the probes. classifiers: keep each probe's classifier with its tower, a checkpoint of its own.
    """

    path: Path
    probes: Sequence[ProbeData]
    init: Init = "transfer"
    classifiers: bool = True

    def run(self, point: Point) -> RunDirectory:
        """The point's run."""
        return RunDirectory(self.path / point.name)

    def must_fit(self, points: Sequence[Point]) -> None:
        """UsageError where a point was begun by another recipe."""
        for point in points:
            run = self.run(point)
            if run.is_run and run.started:
                try:
                    RULES.changes(run.recipe, point.recipe, allowed=False)
                except UsageError as error:
                    raise UsageError(error.message, "give another --out to other recipes") from None

    def missing(self, point: Point) -> list[ProbeData]:
        """The probes that the point still needs."""
        return [data for data in self.probes if self.probed(point, data) is None]

    def is_finished(self, point: Point) -> bool:
        """Is its run complete, with the results of all probes?"""
        return not self.left(point)

    def probed(self, point: Point, data: ProbeData) -> Probed | None:
        """The result of a probe; None where there is none of these images."""
        path = self.run(point).path / "eval" / data.name / findings.RESULT
        if not path.exists():
            return None
        result = findings.result(path).result
        if not isinstance(result, Measured) or result.data.get("train", {}).get("hash") != data.content:
            return None
        return Probed(
            measure=result.measure,
            figure=result.figure,
            interval=result.interval,
            chance=result.chance,
            zero_shot=result.zero_shot,
            zero_shot_interval=result.zero_shot_interval,
            result=str(path),
        )

    def row(self, point: Point, error: str | None = None) -> Row:
        """The point as it stands."""
        run = self.run(point)
        last: dict[str, Any] = next(reversed(read_metrics(run.metrics)), {})
        found = {data.name.removeprefix("lp-"): self.probed(point, data) for data in self.probes}
        begun: State = "interrupted" if run.started else "waiting"
        return Row(
            name=point.name,
            values=point.values,
            seed=point.recipe.seed,
            run=str(run.path),
            state="failed" if error else "finished" if self.is_finished(point) else begun,
            steps=last.get("step", 0),
            seconds=last.get("seconds", 0),
            cpu_seconds=usage.cpu_seconds_of(run.path),
            final_loss=last.get("loss"),
            vocabulary_size=_classes(run.vocabulary, run.vocabulary.stat().st_mtime_ns)
            if run.vocabulary.exists()
            else None,
            probes={name: probed for name, probed in found.items() if probed is not None},
            error=error,
        )

    def left(self, point: Point) -> list[str]:
        """What is yet to be done, one after the other: the run, and its probes by name."""
        run = [] if self.run(point).was_complete else ["run"]
        return run + [data.name for data in self.missing(point)]

    def work(self, point: Point, *, cpu: bool, cache_dir: Path | None, progress: Progress) -> None:
        """Do the first of what is left, alone or as one of several processes."""
        run = self.run(point)
        if not run.was_complete:
            with usage.recorded(run.path):
                pretrain(
                    point.recipe, out=run.path, resume=True, cpu=cpu, cache_dir=cache_dir, progress=progress
                )
        elif missing := self.missing(point):
            data = missing[0]
            linear_probe(
                checkpoints.load(str(run.path)),
                data.train,
                data.test,
                target=data.target,
                init=self.init,
                classifier=self.classifiers,
                out=run.path / "eval" / data.name,
                cpu=cpu,
                workers=point.recipe.data.workers,
                progress=progress,
            )

    def refused(self, point: Point, code: int) -> CatlipctlError:
        """Why processes that were started for the point ended so; its run's own words where it has them."""
        ended = self.run(point).ended
        if ended is not None and ended.exit_code == code:
            error = CatlipctlError(ended.message, ended.hint)
        else:
            error = CatlipctlError("its processes failed", "what they said stands above")
        error.exit_code = code
        return error
