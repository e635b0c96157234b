"""What a frontier has come to: how methods were tuned, their runs, and which one is better at what cost."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from catlipctl.errors import CatlipctlError
from catlipctl.experiments.finishing import failure
from catlipctl.experiments.folder import Row
from catlipctl.experiments.frontiers.budgets import Tuned
from catlipctl.experiments.frontiers.methods import Differing
from catlipctl.experiments.frontiers.timing import Timing
from catlipctl.reports import findings
from catlipctl.reports.bootstrap import Answered, Model, percentiles
from catlipctl.reports.comparison import Difference, answered, difference
from catlipctl.reports.frontier import COSTS, Dot, front
from catlipctl.reports.measured import Interval, Measured
from catlipctl.results import Measurement

RESULT = "frontier.json"
PROTOCOL = "frontier: linear probe, fast: features once, L-BFGS, no prior"


class Ran(Row):
    """A run that is compared.

    samples: that it sees. timed_seconds: what these take by the timing; `seconds` are what they took. flops:
    of training, head and text tower in it; None before its vocabulary is counted.
    """

    samples: int
    timed_seconds: float
    flops: float | None = None


class GridPoint(BaseModel):
    """A run of the grid. score: the mean of `scores`, a held-out accuracy for each probe."""

    lr: float
    weight_decay: float
    score: float | None
    scores: dict[str, float]
    error: str | None = None


class Tuning(BaseModel):
    """How a method's rates were chosen; an empty grid: they were given, or are the recipe's own.

    at_edge: the chosen values that are the smallest or the largest of the grid: a better one may lie beyond.
    """

    method: str
    chosen: Tuned | None
    grid: list[GridPoint]
    at_edge: list[str] = []


class Mean(BaseModel):
    """A method at a budget on one probe: the mean over its seeds, with an interval over images and seeds.

    costs: by kind, the mean over seeds. seconds, cpu_seconds: what the runs took. on_front: by which costs no
    other mean is as good for less.
    """

    method: str
    budget: str
    probe: str
    measure: str
    figure: float
    interval: Interval | None
    chance: float
    seeds: list[int]
    costs: dict[str, float]
    seconds: float
    cpu_seconds: float | None
    on_front: list[str] = []


class Pair(BaseModel):
    """Two methods at one budget on one probe: the first less the second."""

    method: str
    other: str
    budget: str
    probe: str
    difference: Difference


class Reached(BaseModel):
    """The cheapest budget at which a method's mean reaches a target; None: none does.

    seconds: by the timing. times_as_fast: as the first method, the median of the rounds of the timing, each
    of which took both methods; range: the least and the most of them.
    """

    method: str
    probe: str
    target: float
    budget: str | None
    seconds: float | None = None
    times_as_fast: float | None = None
    range: tuple[float, float] | None = None


class Frontier(Measurement):
    """`frontier.json`, written anew after each run. means, pairs, reached: once all runs are finished.

    recipe: of the first method. timings: by method, kept for all later calls. files: figures and the page.
    """

    protocol: str = PROTOCOL
    out: str
    methods: list[str]
    budgets: list[str]
    differing: list[Differing]
    timings: dict[str, Timing]
    tunings: list[Tuning] = Field(default_factory=list)
    rows: list[Ran] = Field(default_factory=list)
    means: list[Mean] = Field(default_factory=list)
    pairs: list[Pair] = Field(default_factory=list)
    reached: list[Reached] = Field(default_factory=list)
    files: list[str] = Field(default_factory=list)

    def failure(self) -> CatlipctlError | None:
        """What to say where some runs failed; the others stand."""
        return failure(self.rows) or next(
            (
                CatlipctlError(f"no run of {tuning.method}'s grid could be finished: {tuning.grid[0].error}")
                for tuning in self.tunings
                if tuning.chosen is None and tuning.grid
            ),
            None,
        )

    def dots(self, probe: str) -> list[Dot]:
        """What the figure of a probe draws."""
        return [
            Dot(mean.method, mean.costs, mean.figure, mean.interval)
            for mean in self.means
            if mean.probe == probe
        ]


def means_and_pairs(rows: Sequence[Ran], seed: int) -> tuple[list[Mean], list[Pair]]:
    """All means, and all pairs of methods that have a budget and a probe in common."""
    means, pairs = [], []
    for probe in dict.fromkeys(name for row in rows for name in row.probes):
        of_probe: list[Mean] = []
        for budget in dict.fromkeys(row.values["budget"] for row in rows):
            here = [row for row in rows if row.values["budget"] == budget and probe in row.probes]
            by_method = {
                name: [row for row in here if row.values["method"] == name]
                for name in dict.fromkeys(row.values["method"] for row in here)
            }
            models = {name: _model(of_one, probe, seed) for name, of_one in by_method.items()}
            of_probe += [_mean(of_one, probe, models[name]) for name, of_one in by_method.items()]
            pairs += [
                Pair(
                    method=one,
                    other=other,
                    budget=budget,
                    probe=probe,
                    difference=difference(models[one], models[other]),
                )
                for one, other in combinations(models, 2)
            ]
        for cost in COSTS:
            told = [mean for mean in of_probe if cost in mean.costs]
            for at in front([(mean.costs[cost], mean.figure) for mean in told]):
                told[at].on_front.append(cost)
        means += of_probe
    return means, pairs


def _mean(rows: Sequence[Ran], probe: str, model: Model) -> Mean:
    """Of a method at a budget, whose runs are `rows`."""
    probed = [row.probes[probe] for row in rows]
    costs: dict[str, list[float | None]] = {
        "seconds": [row.timed_seconds for row in rows],
        "samples": [row.samples for row in rows],
        "flops": [row.flops for row in rows],
    }
    cpu = _mean_of([row.cpu_seconds for row in rows])
    return Mean(
        method=rows[0].values["method"],
        budget=rows[0].values["budget"],
        probe=probe,
        measure=probed[0].measure,
        figure=statistics.fmean(one.figure for one in probed),
        interval=percentiles(model.resampled)
        if model.complete
        else probed[0].interval
        if len(probed) == 1
        else None,
        chance=probed[0].chance,
        seeds=sorted(row.seed for row in rows),
        costs={name: mean for name, of in costs.items() if (mean := _mean_of(of)) is not None},
        seconds=statistics.fmean(row.seconds for row in rows),
        cpu_seconds=cpu,
    )


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def _model(rows: Sequence[Ran], probe: str, seed: int) -> Model:
    """A method's runs by their seeds; the probes themselves all have one."""
    by_seed: dict[int, Answered] = {}
    for row in rows:
        there = findings.find([Path(row.probes[probe].result)])
        for file, result in there.of(Measured):
            if (found := answered(file, result, there)) is not None:
                by_seed[row.seed] = found
    return Model(by_seed, {row.seed: row.probes[probe].figure for row in rows}, seed)


def reached(
    means: Sequence[Mean], timings: Mapping[str, Timing], targets: Mapping[str, float]
) -> list[Reached]:
    """Of each method and target the cheapest budget; the first method is the one to beat."""
    found = []
    for probe, target in targets.items():
        first: list[float] | None = None
        for method, timing in timings.items():
            there = [m for m in means if m.method == method and m.probe == probe and m.figure >= target]
            if not there:
                found.append(Reached(method=method, probe=probe, target=target, budget=None))
                continue
            best = min(there, key=lambda mean: mean.costs["seconds"])
            rounds = [seconds * best.costs["samples"] for seconds in timing.rounds]
            first = rounds if method == next(iter(timings)) else first
            one = Reached(
                method=method,
                probe=probe,
                target=target,
                budget=best.budget,
                seconds=best.costs["seconds"],
            )
            if first is not None:
                ratios = [theirs / ours for theirs, ours in zip(first, rounds, strict=True)]
                one.times_as_fast = statistics.median(ratios)
                one.range = min(ratios), max(ratios)
            found.append(one)
    return found


def chosen(grid: Sequence[GridPoint]) -> tuple[Tuned | None, list[str]]:
    """The point of the best held-out score, the first of equals; and which of its values is at the edge."""
    scored = [point for point in grid if point.score is not None]
    if not scored:
        return None, []
    best = max(scored, key=lambda point: point.score or 0)
    edges = []
    for name in Tuned._fields:
        values: list[Any] = [getattr(point, name) for point in grid]
        if len(set(values)) > 2 and getattr(best, name) in (min(values), max(values)):
            edges.append(name)
    return Tuned(best.lr, best.weight_decay), edges
