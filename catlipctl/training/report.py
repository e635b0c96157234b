"""What a run tells of itself as it goes: the progress bar, and `metrics.jsonl`, an object a logged step."""

import json
import math
import time
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from catlipctl.data.batch import Step
from catlipctl.errors import DataError
from catlipctl.files import FileKind, write_text
from catlipctl.progress import Task
from catlipctl.training.underway import Outcome

KIND = FileKind("a row of metrics", 2**30, DataError, "delete that line: nothing else of the run needs it")


@dataclass
class RunState:
    """Where a run is. Random draws are no part of it: they are functions of seed and position."""

    step: int = 0
    totals: dict[str, float] = field(default_factory=lambda: {"seconds": 0.0, "replaced": 0, "skipped": 0})
    """Sums over the run: seconds of training, images replaced, steps skipped as loss or gradient were not
    finite; and of each part of the loss, over images."""


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
        self._images = 0
        self._waits: list[float] = []
        self._parts: dict[str, float] = {}

    def step(self, step: Step, outcome: Outcome, rate: float) -> None:
        """A step is read: count it, move the bar, and write a row if it is one to log."""
        totals = self._state.totals
        self._state.step = step.index + 1
        totals["seconds"] += outcome.done - self._last
        totals["replaced"] += outcome.replaced
        totals["skipped"] = totals.get("skipped", 0) + (not outcome.finite)
        for name, mean in outcome.parts.items():
            if math.isfinite(mean):
                totals[name] = totals.get(name, 0.0) + mean * step.rows
                self._parts[name] = self._parts.get(name, 0.0) + mean * step.rows
        self._last = outcome.done
        self._images += step.rows
        self._waits = [sum(waits) for waits in zip_longest(self._waits, outcome.waits, fillvalue=0.0)]
        self._task.advance(step.rows, loss=outcome.loss)
        done = step.index + 1
        if done == 1 or done % self._every == 0 or done == self._steps:
            self._row(step, outcome, rate, outcome.done - self._since)
            self._since, self._waits, self._images, self._parts = outcome.done, [], 0, {}

    def _row(self, step: Step, outcome: Outcome, rate: float, seconds: float) -> None:
        if self._path is None:
            return
        samples, totals = step.start + step.rows, self._state.totals
        row = {
            "step": step.index + 1,
            "samples": samples,
            "epoch": round(samples / self._source_size, 4),
            "size": step.size,
            # JSON has no name for what is not finite.
            "loss": outcome.loss if math.isfinite(outcome.loss) else None,
            "lr": rate,
            "grad_norm": outcome.grad_norm if math.isfinite(outcome.grad_norm) else None,
            **{name: sum / self._images for name, sum in self._parts.items()},
            "images_per_second": round(self._images / seconds, 2),
            "data_wait": round(max(self._waits) / seconds, 4),
            "seconds": round(totals["seconds"], 3),
            "replaced": int(totals["replaced"]),
            "skipped": int(totals["skipped"]),
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
    loss: float | None
    """None where it was not finite, and the step skipped."""


def read_metrics(path: Path, schema: type[Row] = MetricsRow) -> list[dict[str, Any]]:
    """The rows of a run's metrics, without a last line that a kill has torn; an absent file has none.

    DataError names the line of another one that is damaged: no kill does that.
    """
    return [row.model_dump() for row in KIND.read_rows(path, schema)] if path.exists() else []


def first_and_final_loss(path: Path) -> tuple[float | None, float | None]:
    """The first and the last loss in a run's metrics; None where there is none."""
    losses = [row["loss"] for row in read_metrics(path) if row["loss"] is not None] or [None]
    return losses[0], losses[-1]


def truncate_metrics(path: Path, step: int) -> None:
    """Keep the rows up to `step`: those after it will be made again."""
    kept = [row for row in read_metrics(path) if row["step"] <= step]
    write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
