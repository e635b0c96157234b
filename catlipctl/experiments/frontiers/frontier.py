"""Accuracy against cost: methods on the same pairs at the same budgets, each tuned as much as the others.

The steps: time all methods in turns; turn each budget into a number of samples; tune each method at the
smallest budget by a probe of held-out training images; then run all budgets and seeds, methods in turn, and
probe each run. Recipes, timing and the results of the grid decide what a run is, and all of them lie in the
folder: an interrupted frontier goes on, and what is finished is not run again.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from catlipctl import objectives
from catlipctl import recipe as recipes
from catlipctl import vocabulary as vocabularies
from catlipctl.data.batch import Shape
from catlipctl.experiments.finishing import finish_all, held
from catlipctl.experiments.folder import Folder, earlier
from catlipctl.experiments.frontiers.budgets import OWN, Budget, Tuned, budget_point, fitted, tuning_point
from catlipctl.experiments.frontiers.design import Design, name_of
from catlipctl.experiments.frontiers.methods import Method, differing
from catlipctl.experiments.frontiers.result import (
    RESULT,
    Frontier,
    GridPoint,
    Ran,
    Tuning,
    chosen,
    means_and_pairs,
    reached,
)
from catlipctl.experiments.frontiers.timing import Timing, timed
from catlipctl.experiments.points import Point
from catlipctl.pretraining.assembly import forward_flops, make_order, open_source, outputs
from catlipctl.progress import SILENT, Progress
from catlipctl.training.steps import planned
from catlipctl.training.utilisation import BACKWARD
from catlipctl.transfer.labelled import described

BUSY = 0.25
"""A spread of the timing that is told."""


class Begun(BaseModel):
    """What is kept of an earlier `frontier.json`."""

    model_config = ConfigDict(extra="ignore")

    timings: dict[str, Timing]
    tunings: list[Tuning]


def frontier(
    design: Design,
    out: Path,
    *,
    cpu: bool = False,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Frontier:
    """Bring the whole comparison to its end, and write `frontier.json` after each run.

    A run that fails is told, and the rest go on. Raises UsageError where something else lies in `out`, or a
    run was begun by another recipe, and Stopped at a signal: the same call then goes on.
    """
    design.check()
    begun = earlier(out, RESULT, Begun)
    with held(out, "frontier"):
        work = _Work(design, out, cpu, cache_dir, progress)
        work.time({} if begun is None else begun.timings)
        work.tune()
        work.compare()
        return work.written(whole=True)


def _epoch(method: Method, cache_dir: Path | None, progress: Progress) -> int:
    """Samples of an epoch."""
    return make_order(method.recipe, open_source(method.recipe, cache_dir, progress)).samples


class _Work:
    """A frontier under way: what is known so far."""

    def __init__(
        self, design: Design, out: Path, cpu: bool, cache_dir: Path | None, progress: Progress
    ) -> None:
        self.design, self.out, self.progress = design, out, progress
        self.cpu, self.cache_dir = cpu, cache_dir
        self.epochs = {method.name: _epoch(method, cache_dir, progress) for method in design.methods}
        self.tuned = Folder(out, design.held_out(), init="random", classifiers=False)
        self.compared = Folder(out, design.probes, init="random", classifiers=False)
        self.timings: dict[str, Timing] = {}
        self.tunings: list[Tuning] = []
        self.points: list[Point] = []
        self.errors: dict[str, str] = {}
        self.flops: dict[tuple[str, int | None], dict[Shape, int]] = {}

    def time(self, before: Mapping[str, Timing]) -> None:
        """Time the methods that were not yet; by one that was, they are set right for what has changed."""
        known = [method for method in self.design.methods if method.name in before]
        new = [method for method in self.design.methods if method.name not in before]
        options = {"cpu": self.cpu, "cache_dir": self.cache_dir, "progress": self.progress}
        # As many as before, and each order as often as the other.
        rounds = len(before[known[0].name].rounds) if known else 2 * math.ceil(self.design.rounds / 2)
        found = timed([*known[:1], *new], rounds, **options) if new else {}  # type: ignore[arg-type]
        for method in self.design.methods:
            self.timings[method.name] = before.get(method.name) or found[method.name]
        for method in new if known else ():
            was, now, own = before[known[0].name], found[known[0].name], found[method.name]
            pairs = zip(was.rounds, now.rounds, own.rounds, strict=True)
            scaled = [then * seconds / again for then, again, seconds in pairs]
            self.timings[method.name] = Timing(rounds=scaled, cores=own.cores)
        if new:
            self.written()
        spread = max(timing.spread for timing in self.timings.values())
        if spread > BUSY:
            self.progress.warn(
                f"the rounds of the timing differ by {spread:.0%}: the machine was busy with other things, "
                "so a budget of seconds is worth fewer pairs than it could be, for all methods alike"
            )

    def tune(self) -> None:
        """Run each method's grid at the smallest budget, with a seed that no compared run has."""
        points: dict[str, list[Point]] = {}
        for method in self.design.methods:
            fit = self.fit(method, self.design.budgets[0])
            points[method.name] = [tuning_point(method, one, fit) for one in self.design.searched]
        grid = [point for of_one in zip(*points.values(), strict=True) for point in of_one]
        self.tuned.must_fit(grid)
        self.tunings = [self._tuning(method, points[method.name]) for method in self.design.methods]

        def written() -> None:
            self.tunings = [self._tuning(method, points[method.name]) for method in self.design.methods]
            self.written()

        self.finish(self.tuned, grid, written)
        written()

    def compare(self) -> None:
        """Run all budgets and seeds with the chosen rates, the methods in turn."""
        best = {tuning.method: tuning.chosen for tuning in self.tunings}
        for budget, number in product(self.design.budgets, range(self.design.seeds)):
            for method in self.design.methods:
                if (rates := best[method.name]) is not None:
                    fit = self.fit(method, budget)
                    seed = method.recipe.seed + number
                    self.points.append(budget_point(method, budget, rates, fit, seed))
        self.compared.must_fit(self.points)
        self.finish(self.compared, self.points, self.written)

    def fit(self, method: Method, budget: Budget) -> list[recipes.Override]:
        """What the budget makes of the method's recipe."""
        return fitted(method, budget, self.timings[method.name], self.epochs[method.name])

    def finish(self, folder: Folder, points: Sequence[Point], written: Callable[[], object]) -> None:
        """Bring points to their end."""
        finish_all(
            folder,
            points,
            self.errors,
            written,
            cpu=self.cpu,
            cache_dir=self.cache_dir,
            progress=self.progress,
        )

    def written(self, *, whole: bool = False) -> Frontier:
        """Write what is known; whole: with what needs all runs."""
        rows = [self._ran(point) for point in self.points]
        means, pairs = means_and_pairs(rows, seed=0) if whole else ([], [])
        found = Frontier(
            out=str(self.out),
            methods=[method.name for method in self.design.methods],
            budgets=[budget.name for budget in self.design.budgets],
            differing=differing(self.design.methods, fitted=self.design.budgets[0].unit != OWN),
            timings=self.timings,
            tunings=self.tunings,
            rows=rows,
            means=means,
            pairs=pairs,
            reached=reached(means, self.timings, self.design.targets),
            recipe=recipes.plain(self.design.methods[0].recipe),
            data={name_of(data): described(data.train) for data in self.design.probes},
        )
        found.write(self.out / RESULT)
        return found

    def _tuning(self, method: Method, points: Sequence[Point]) -> Tuning:
        if not points:
            own = method.recipe.optimiser
            given = next(iter(self.design.grid), Tuned(own.lr, own.weight_decay))
            return Tuning(method=method.name, chosen=given, grid=[])
        grid = []
        for point in points:
            row = self.tuned.row(point, self.errors.get(point.name))
            scores = {name.removeprefix("held-out-"): probed.figure for name, probed in row.probes.items()}
            whole = len(scores) == len(self.design.probes)
            rates = point.recipe.optimiser
            grid.append(
                GridPoint(
                    lr=rates.lr,
                    weight_decay=rates.weight_decay,
                    score=sum(scores.values()) / len(scores) if whole else None,
                    scores=scores,
                    error=row.error,
                )
            )
        best, edges = chosen(grid)
        return Tuning(method=method.name, chosen=best, grid=grid, at_edge=edges)

    def _ran(self, point: Point) -> Ran:
        row, recipe = self.compared.row(point, self.errors.get(point.name)), point.recipe
        schedule = planned(recipe, recipe.model.image_size, self.epochs[point.values["method"]])
        assert schedule is not None, "the source is open, so its epochs have a length"
        timing = self.timings[point.values["method"]]
        flops = None
        if row.vocabulary_size is not None or not objectives.find(recipe.objective).needs_classes:
            forward = self._forward_flops(point, row.vocabulary_size)
            taken = schedule.by_shape().items()
            flops = float(sum(BACKWARD * n * step.rows * forward[shape] for shape, (n, step) in taken))
        return Ran(
            **dict(row),
            samples=schedule.samples(),
            timed_seconds=schedule.samples() * timing.seconds_per_sample,
            flops=flops,
        )

    def _forward_flops(self, point: Point, classes: int | None) -> dict[Shape, int]:
        """By the image's shape; counted once for the runs of a method, which all have one tower."""
        key = point.values["method"], classes
        if key not in self.flops:
            known = None if classes is None else vocabularies.load(self.compared.run(point).vocabulary)
            self.flops[key] = forward_flops(point.recipe, outputs(point.recipe, known))
        return self.flops[key]
