"""What a run tells of itself as it goes: the progress bar, and `metrics.jsonl`, an object a logged step."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from catlipctl.data.batch import Step
from catlipctl.errors import DataError
from catlipctl.files import FileKind, write_text
from catlipctl.progress import Task
from catlipctl.training.learner import Outcome

T = TypeVar("T")

KIND = FileKind("a row of metrics", 2**30, DataError, "delete that line: nothing else of the run needs it")


@dataclass
class RunState:
    """Where a run is. Random draws are no part of it: they are functions of seed and position."""

    step: int = 0
    totals: dict[str, float] = field(default_factory=lambda: {"seconds": 0.0, "replaced": 0})
    """Sums over the run: seconds of training, images replaced; and of each part of the loss, over images."""


class Report:
    """Clocks and counters of the training loop. All processes count; the one with a path writes.

    path: of `metrics.jsonl`. every: steps between rows; the first and the last step always have one.
    """

    def __init__(
        self, path: Path | None, task: Task, state: RunState, *, steps: int, every: int, source_size: int
    ) -> None:
        self._path, self._task, self._state = path, task, state
        self._steps, self._every, self._source_size = steps, every, source_size
        self._last = self._since = time.perf_counter()
        self._waited, self._images = 0.0, 0
        self._parts: dict[str, float] = {}

    def waited(self, draw: Callable[[], T]) -> T:
        """What `draw` gives; the time that it takes is told as waiting for data."""
        start = time.perf_counter()
        drawn = draw()
        self._waited += time.perf_counter() - start
        return drawn

    def step(self, step: Step, outcome: Outcome, rate: float) -> None:
        """A step is done: move the bar, and write a row if it is one to log."""
        now, totals = time.perf_counter(), self._state.totals
        totals["seconds"] += now - self._last
        totals["replaced"] += outcome.replaced
        for name, mean in outcome.parts.items():
            totals[name] = totals.get(name, 0.0) + mean * step.rows
            self._parts[name] = self._parts.get(name, 0.0) + mean * step.rows
        self._last = now
        self._images += step.rows
        self._task.advance(step.rows, loss=outcome.loss)
        done = step.index + 1
        if done == 1 or done % self._every == 0 or done == self._steps:
            self._row(step, outcome, rate, now - self._since)
            self._since, self._waited, self._images, self._parts = now, 0.0, 0, {}

    def _row(self, step: Step, outcome: Outcome, rate: float, seconds: float) -> None:
        if self._path is None:
            return
        samples, totals = step.start + step.rows, self._state.totals
        row = {
            "step": step.index + 1,
            "samples": samples,
            "epoch": round(samples / self._source_size, 4),
            "size": step.size,
            "loss": outcome.loss,
            "lr": rate,
            "grad_norm": outcome.grad_norm,
            **{name: sum / self._images for name, sum in self._parts.items()},
            "images_per_second": round(self._images / seconds, 2),
            "data_wait": round(self._waited / seconds, 4),
            "seconds": round(totals["seconds"], 3),
            "replaced": int(totals["replaced"]),
        }
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")


class Row(BaseModel):
    """What every row of a metrics.jsonl, or an evaluations.jsonl, has."""

    model_config = ConfigDict(extra="allow")

    step: int = Field(ge=0, lt=2**63)


class MetricsRow(Row):
    """A row of a metrics.jsonl, which has more (see `Report`)."""

    samples: int = Field(ge=0)
    loss: float


def read_metrics(path: Path, schema: type[Row] = MetricsRow) -> list[dict[str, Any]]:
    """The rows of a run's metrics, without a last line that a kill has torn; an absent file has none.

    DataError names the line of another one that is damaged: no kill does that.
    """
    return [row.model_dump() for row in KIND.read_rows(path, schema)] if path.exists() else []


def first_and_final_loss(path: Path) -> tuple[float | None, float | None]:
    """The loss in the first and in the last row of a run's metrics; None where there is no row."""
    losses = [row["loss"] for row in read_metrics(path)] or [None]
    return losses[0], losses[-1]


def truncate_metrics(path: Path, step: int, schema: type[Row] = MetricsRow) -> None:
    """Keep the rows up to `step`: those after it will be made again."""
    kept = [row for row in read_metrics(path, schema) if row["step"] <= step]
    write_text(path, "".join(json.dumps(row) + "\n" for row in kept))


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add a row to a file of them. JSON has no number for what is not finite: that is null."""
    told = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(told) + "\n")
