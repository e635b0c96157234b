"""What a sample of each method takes on this machine: a few steps of all of them, in turns.

So a busy hour hits all methods alike, and a run's length does not depend on what else the machine does while
it trains.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, computed_field

from catlipctl.experiments.frontiers.methods import Method
from catlipctl.experiments.usage import cpu_seconds
from catlipctl.pretraining import pretrain
from catlipctl.progress import SILENT, Progress, Silent, Task
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.settings.training import Length
from catlipctl.training.report import read_metrics

STEPS = 12
"""Of each size, in a round."""
UNTIMED = 2
"""First steps that are not timed: workers start, and what they have made ahead is used up."""


class Timing(BaseModel):
    """What a method's samples take on this machine, loader and all, by round. cores: busy meanwhile."""

    rounds: list[float]
    cores: list[float]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def seconds_per_sample(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def spread(self) -> float:
        """The slowest round less the fastest one, over the median."""
        return (max(self.rounds) - min(self.rounds)) / self.seconds_per_sample

    @computed_field  # type: ignore[prop-decorator]
    @property
    def cpu_seconds_per_sample(self) -> float:
        """The median of the rounds, of all cores."""
        return statistics.median(s * c for s, c in zip(self.rounds, self.cores, strict=True))

    def samples(self, seconds: float, batch: int) -> int:
        """What so many seconds are enough for: whole steps of `batch`, at least one."""
        return max(1, int(seconds / (self.seconds_per_sample * batch))) * batch


def timed(
    methods: Sequence[Method],
    rounds: int,
    *,
    cpu: bool = False,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> dict[str, Timing]:
    """Train each method for a few steps, in turns, in folders that are removed; every other round backwards.

    Before that each has had a turn, which counts captions and fills caches. Raises what `pretrain` raises.
    """
    found = {method.name: Timing(rounds=[], cores=[]) for method in methods}
    with progress.task("timing the steps of all methods", rounds + 1, "rounds") as task:
        for number in range(rounds + 1):
            for method in methods[:: 1 if number % 2 else -1]:
                seconds, cores = _round(method.recipe, cpu, cache_dir)
                if number > 0:
                    found[method.name].rounds.append(seconds)
                    found[method.name].cores.append(cores)
            task.advance()
    return found


def _round(recipe: PretrainRecipe, cpu: bool, cache_dir: Path | None) -> tuple[float, float]:
    """Seconds of a sample over some steps, and how many cores were busy."""
    sizes = 1 if recipe.sizes is None else len(recipe.image_sizes(recipe.model.image_size))
    short = recipe.model_copy(
        update={
            "length": Length(samples=sizes * STEPS * recipe.global_batch_size),
            "log_every": 1,
            "save_every": None,
            "save_minutes": None,
            "keep_every": None,
            "validation": None,
            "trackers": [],
        }
    )
    clock = _Clock()
    with tempfile.TemporaryDirectory(prefix="catlipctl-timing-") as folder:
        pretrain(short, out=Path(folder) / "run", cpu=cpu, cache_dir=cache_dir, progress=clock)
        rows = read_metrics(Path(folder) / "run" / "metrics.jsonl")
    # A size's samples are weighted as in a whole run, though its first steps are not timed.
    seconds: dict[int, list[float]] = {}
    share: dict[int, int] = {}
    for before, row in zip([None, *rows], rows, strict=False):
        samples = row["samples"] - (before["samples"] if before else 0)
        share[row["size"]] = share.get(row["size"], 0) + samples
        if before is not None and (row["step"] > UNTIMED or row["step"] == len(rows)):
            seconds.setdefault(row["size"], []).append((row["seconds"] - before["seconds"]) / samples)
    timed = {size: share[size] for size in seconds}
    mean = sum(statistics.fmean(seconds[size]) * timed[size] for size in timed) / sum(timed.values())
    return max(mean, 1e-9), clock.cores


class _Clock(Silent):
    """Follows a run's steps: how many cores were busy while it took those that are timed."""

    def __init__(self) -> None:
        self._steps = 0
        self._first = self._last = (0.0, 0.0)

    @property
    def cores(self) -> float:
        (began, before), (ended, after) = self._first, self._last
        return (after - before) / max(ended - began, 1e-9)

    @contextmanager
    def task(
        self,
        description: str,
        total: int | None = None,
        unit: str = "it",
        done: int = 0,
    ) -> Iterator[Task]:
        with super().task(description, total, unit, done) as task:
            yield _Stepping(self) if unit == "images" else task

    def step(self) -> None:
        self._steps += 1
        self._last = (time.perf_counter(), cpu_seconds())
        if self._steps <= UNTIMED:
            self._first = self._last


class _Stepping:
    def __init__(self, clock: _Clock) -> None:
        self._clock = clock

    def advance(self, amount: int = 1, **fields: float | str) -> None:  # noqa: ARG002
        self._clock.step()

    def expect(self, total: int) -> None:
        pass
