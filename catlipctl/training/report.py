"""What a run tells of itself as it goes: the progress bar, and `metrics.jsonl`, an object a logged step."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from catlipctl.data.batch import Step
from catlipctl.data.feeding import advice
from catlipctl.data.sources.storage import retries
from catlipctl.errors import DataError
from catlipctl.files import FileKind, write_text
from catlipctl.progress import Progress, Task
from catlipctl.results import cores
from catlipctl.training.compilation import Compilation
from catlipctl.training.underway import Outcome
from catlipctl.training.utilisation import Utilisation

STEPS_TO_JUDGE = 50
"""After so many a run that waits for its data is warned."""
KIND = FileKind("a row of metrics", 2**30, DataError, "delete that line: nothing else of the run needs it")


@dataclass
class RunState:
    """Where a run is. Random draws are no part of it: they are functions of seed and position."""

    step: int = 0
    totals: dict[str, float] = field(default_factory=lambda: {"seconds": 0.0, "replaced": 0, "skipped": 0})
    """Sums over the run: seconds of training, images replaced, steps skipped as loss or gradient were not
    finite; and of each part of the loss, over images."""


@dataclass
class _Window:
    """What the steps since the last row came to. waits: seconds by process; apart: by what was done."""

    begun: float
    images: int = 0
    flops: float = 0.0
    waits: list[float] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=dict)
    apart: dict[str, float] = field(default_factory=lambda: {"saving": 0.0, "evaluating": 0.0})


class Report:
    """Clocks and counters of the training loop. All processes count; the one that may write does.

    write: takes a row. every: steps between rows; the first and the last step always have one. workers: that
    make each process's batches.
    """

    def __init__(
        self,
        write: Callable[[Mapping[str, Any]], None] | None,
        progress: Progress,
        task: Task,
        state: RunState,
        utilisation: Utilisation,
        compilation: Compilation | None = None,
        *,
        steps: int,
        every: int,
        source_size: int,
        workers: int,
    ) -> None:
        self._write, self._task, self._state, self._utilisation = write, task, state, utilisation
        self._compilation = compilation
        self._steps, self._every, self._source_size = steps, every, source_size
        self._last = time.perf_counter()
        self._window = _Window(self._last)
        self._waiting = Waiting(progress, workers)

    @contextmanager
    def apart(self, name: str) -> Iterator[None]:
        """The body is no training: its seconds are told as `name`."""
        begun = time.perf_counter()
        yield
        self._window.apart[name] += time.perf_counter() - begun

    def step(self, step: Step, outcome: Outcome, rate: float) -> None:
        """A step is read: count it, move the bar, and write a row if it is one to log."""
        totals, window = self._state.totals, self._window
        self._state.step = step.index + 1
        seconds = outcome.done - self._last
        totals["seconds"] += seconds
        totals["replaced"] += outcome.replaced
        totals["skipped"] = totals.get("skipped", 0) + (not outcome.finite)
        for name, mean in outcome.parts.items():
            if math.isfinite(mean):
                totals[name] = totals.get(name, 0.0) + mean * step.rows
                window.parts[name] = window.parts.get(name, 0.0) + mean * step.rows
        self._last = outcome.done
        window.images += step.rows
        window.flops += self._utilisation.of_step(step)
        window.waits = added(window.waits, outcome.waits)
        self._waiting.step(outcome.waits, seconds)
        self._task.advance(step.rows, loss=outcome.loss)
        done = step.index + 1
        if done == 1 or done % self._every == 0 or done == self._steps:
            if self._write is not None:
                self._write(self._row(step, outcome, rate))
            self._window = _Window(outcome.done)

    def _row(self, step: Step, outcome: Outcome, rate: float) -> dict[str, Any]:
        """`loss` to `grad_norm` are the step's own; means, rates, `saving` and `evaluating` are of the steps
        since the row before; counts and `seconds` of the run (of this start: `retries`, `recompilations`).
        """
        samples, totals, window = step.start + step.rows, self._state.totals, self._window
        seconds = outcome.done - window.begun
        return {
            "step": step.index + 1,
            "samples": samples,
            "epoch": round(samples / self._source_size, 4),
            "size": step.size,
            "loss": outcome.loss,
            "lr": rate,
            "grad_norm": outcome.grad_norm,
            **{name: sum / window.images for name, sum in window.parts.items()},
            "images_per_second": round(window.images / seconds, 2),
            "data_wait": round(max(window.waits) / seconds, 4),
            **self._utilisation.row(window.flops, seconds),
            **{name: round(of_it, 3) for name, of_it in window.apart.items()},
            "seconds": round(totals["seconds"], 3),
            "replaced": int(totals["replaced"]),
            "skipped": int(totals["skipped"]),
            "retries": retries(),
            **({"recompilations": self._compilation.late.total()} if self._compilation else {}),
        }


class Waiting:
    """Warns once of a run whose slowest process waits for its data for more than a tenth of the time."""

    def __init__(self, progress: Progress, workers: int) -> None:
        self._progress, self._workers = progress, workers
        self._cores = max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        self._steps, self._seconds = 0, 0.0
        self._waits: list[float] = []

    def step(self, waits: Sequence[float], seconds: float) -> None:
        """A step is done. waits: seconds of each process. In the first one workers start: it says nothing."""
        self._steps += 1
        if self._steps == 1:
            return
        self._waits, self._seconds = added(self._waits, waits), self._seconds + seconds
        if self._steps == STEPS_TO_JUDGE:
            told = advice(max(self._waits) / self._seconds, self._workers, self._cores)
            if told is not None:
                self._progress.warn(told)


def added(sums: Sequence[float], values: Sequence[float]) -> list[float]:
    """Sums, one a process, with one more value of each; there are none yet at the beginning."""
    return [before + value for before, value in zip_longest(sums, values, fillvalue=0.0)]


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
