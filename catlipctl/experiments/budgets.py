"""Budgets of wall-clock or of samples, the timing that turns one into the other, and the points of each.

Seconds become samples once, by timed steps of every method in turns: so a busy hour hits all methods alike,
and a run's length does not depend on what else the machine did while it trained.
"""

import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, computed_field

from catlipctl.errors import UsageError
from catlipctl.experiments.methods import TUNED, Method
from catlipctl.experiments.points import Point, named
from catlipctl.experiments.usage import cpu_seconds
from catlipctl.pretraining import pretrain
from catlipctl.progress import SILENT, Progress, Silent, Task
from catlipctl.recipe import Override
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.settings.training import Length
from catlipctl.training.report import read_metrics
from catlipctl.training.steps import planned

SECONDS = {"s": 1, "m": 60, "h": 3600}
TEXT = re.compile(r"(?P<amount>\d+(?:\.\d+)?)(?P<unit>[smh]?)")
OWN = "own"
RATES = (5e-4, 1e-3, 2e-3, 4e-3)
DECAYS = (0.05, 0.2)
"""The grid of each method, if nothing else is said."""
TIMED_STEPS = 12
"""Of each size, in a round."""
UNTIMED = 2
"""First steps that are not timed: workers start, and what they have made ahead is used up."""
Unit = Literal["seconds", "samples", "own"]


class Budget(NamedTuple):
    """What a run may take. name: as it was given, that of a folder. own: what the recipe says."""

    name: str
    unit: Unit
    amount: float

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """From `30s`, `2m`, `1.5h`; from a number of samples; or `own`. UsageError for anything else."""
        if text == OWN:
            return cls(OWN, "own", 0)
        found = TEXT.fullmatch(text)
        amount = float(found["amount"]) if found else 0
        if found is None or amount <= 0 or (not found["unit"] and amount != int(amount)):
            raise UsageError(f"{text!r} is no budget", "seconds as 30s, 2m or 1h, or a number of samples")
        if found["unit"]:
            return cls(text, "seconds", amount * SECONDS[found["unit"]])
        return cls(text, "samples", amount)


def budgets(text: str) -> list[Budget]:
    """Those of `30s,60s,120s`, the smallest first; UsageError where they are of several units, or equal."""
    found = sorted((Budget.parse(part.strip()) for part in text.split(",")), key=lambda one: one.amount)
    if len({one.unit for one in found}) > 1:
        raise UsageError(f"{text}: budgets of several units", "give all in seconds, or all in samples")
    if len({one.amount for one in found}) < len(found):
        raise UsageError(f"{text}: a budget stands twice", "name each once")
    return found


class Tuned(NamedTuple):
    """A point of the grid of each method: learning rate and weight decay."""

    lr: float
    weight_decay: float

    def overrides(self) -> list[Override]:
        """On a recipe."""
        return [Override(key, value, "tuning") for key, value in zip(TUNED, self, strict=True)]


def grid(lr: str | None, weight_decay: str | None, *, own: bool = False) -> list[Tuned]:
    """The points of `LR,LR...` with each of `DECAY,DECAY...`; own: without either, none."""
    if own and lr is None and weight_decay is None:
        return []
    values = product(_rates("--lr", lr, RATES), _rates("--weight-decay", weight_decay, DECAYS))
    return [Tuned(*one) for one in values]


def _rates(flag: str, text: str | None, default: tuple[float, ...]) -> tuple[float, ...]:
    try:
        return default if text is None else tuple(dict.fromkeys(map(float, text.split(","))))
    except ValueError:
        raise UsageError(f"{flag} {text}: not of the form NUMBER,NUMBER,...", f"{flag} 0.001,0.002") from None


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
            "length": Length(samples=sizes * TIMED_STEPS * recipe.global_batch_size),
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


def fitted(method: Method, budget: Budget, timing: Timing | None, epoch: int) -> list[Override]:
    """What the budget makes of a method's recipe: its length, and a warm-up of the same share of the steps.

    timing: of the method, for a budget of seconds. epoch: its samples.
    """
    recipe = method.recipe
    if budget.unit == "own":
        return []
    samples = int(budget.amount)
    if budget.unit == "seconds":
        assert timing is not None, "seconds become samples by a timing"
        samples = timing.samples(budget.amount, recipe.global_batch_size)
    shorter = recipe.model_copy(update={"length": Length(samples=samples)})
    own, now = (planned(one, one.model.image_size, epoch) for one in (recipe, shorter))
    assert own is not None
    assert now is not None
    warmup = round(recipe.schedule.warmup_steps * len(now) / len(own))
    return [
        Override("length", {"samples": samples}, "budget"),
        Override("schedule.warmup_steps", warmup, "budget"),
    ]


def tuning_point(method: Method, tuned: Tuned, fit: Sequence[Override], seed: int) -> Point:
    """A run of the grid."""
    loaded = method.changed(*fit, *tuned.overrides(), Override("seed", seed, "tuning"))
    values = dict(zip(TUNED, tuned, strict=True))
    return Point(tuning_name(method, tuned), loaded, {"method": method.name, **values})


def budget_point(method: Method, budget: Budget, chosen: Tuned, fit: Sequence[Override], seed: int) -> Point:
    """A run that is compared."""
    loaded = method.changed(*fit, *chosen.overrides(), Override("seed", seed, "frontier"))
    values = {"method": method.name, "budget": budget.name, **dict(zip(TUNED, chosen, strict=True))}
    return Point(budget_name(method, budget, seed), loaded, values)


def tuning_name(method: Method, tuned: Tuned) -> str:
    """The folder of a run of the grid."""
    return f"{method.name}/tuning/{named(tuned._asdict())}"


def budget_name(method: Method, budget: Budget, seed: int) -> str:
    """The folder of a run that is compared."""
    return f"{method.name}/{budget.name}/seed={seed}"
