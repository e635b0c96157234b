"""Models beside each other by their evaluations; whether they differ, by bootstrap over images and seeds.

Made from result files and the `predictions.csv` beside them. A column is one protocol, on one set of test
images, with so many training images: nothing else stands beside each other.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, Field

from catlipctl.errors import UsageError
from catlipctl.reports.findings import Findings, Found
from catlipctl.reports.measured import Interval, Measured
from catlipctl.reports.style import canvas, colours, is_narrow, legend, short_names
from catlipctl.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

RESAMPLES = 2000
CELLS_AT_ONCE = 1 << 24
Verdict = Literal["better", "worse", "no verdict", "other test images", "no predictions"]


class Column(NamedTuple):
    """What may be compared: protocol, test images and their split, and how many images trained."""

    protocol: str
    test: str
    train_images: int


class Difference(BaseModel):
    """A model's figure less the baseline's, with a 95 % interval over test images and seeds.

    verdict: `better` or `worse` where the interval leaves out 0. figure and interval: None where the two
    cannot be paired: they have other test images, or no predictions.
    """

    figure: float | None
    interval: Interval | None
    verdict: Verdict


class Cell(BaseModel):
    """One model in one column: the mean over the seeds of what the column measures, in 0..1.

    interval: of 95 %, over test images and seeds; without predictions that of the one result, or None.
    chance: the figure of no knowledge. difference: to the baseline, None
    of the baseline itself, and where that has no such evaluation.
    """

    figure: float
    interval: Interval | None
    seeds: list[int]
    test_images: int
    chance: float
    difference: Difference | None = None


class ComparedColumn(BaseModel):
    """One column, with a cell a model, by the model's name.

    measure: `top-1`, or of several labels an image `macro mAP`. rival: whose figure `chance` is.
    """

    measure: str
    rival: str
    protocol: str
    test: str
    train_images: int
    cells: dict[str, Cell]


class Comparison(Result):
    """Models beside each other. models: in the order in which they were named, the baseline first.

    runs: those whose losses are drawn together. files: what was written.
    """

    baseline: str
    models: list[str]
    columns: list[ComparedColumn]
    runs: list[str] = Field(default_factory=list)
    files: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class Hits:
    """Whether a model recognised each test image, by seed; images by name. figures: as the results say."""

    by_seed: Mapping[int, Mapping[str, bool]]
    figures: Mapping[int, float]

    @property
    def complete(self) -> bool:
        """Whether every seed has its predictions, of the same images."""
        images = [hits.keys() for hits in self.by_seed.values()]
        return len(images) == len(self.figures) and all(names == images[0] for names in images)

    def table(self, images: Sequence[str]) -> "NDArray[np.float64]":
        """`[seeds, images]`, 0 or 1; seeds in ascending order."""
        rows = [self.by_seed[seed] for seed in sorted(self.by_seed)]
        return np.array([[hits[image] for image in images] for hits in rows], np.float64)


def compare(findings: Findings, baseline: str | None = None, *, seed: int = 0) -> Comparison:
    """Fold all evaluations into columns of models, and test each against the baseline (the first model).

    A model is a checkpoint with its init; results that differ in the seed alone are one cell. Images are
    resampled, the same ones for both models of a pair, and so are seeds: those that both have are paired.
    Raises UsageError without an evaluation, for two results of one cell and seed, and for a baseline that no
    model is called.
    """
    found = findings.of(Measured)
    if not found and not findings.runs:
        raise UsageError(
            "there is no evaluation to compare", "name result.json files of evaluations, or runs"
        )
    names = _names(found)
    columns: dict[Column, dict[str, list[tuple[Found, Measured]]]] = {}
    for (file, result), name in zip(found, names, strict=True):
        columns.setdefault(_column(result), {}).setdefault(name, []).append((file, result))
    models = list(dict.fromkeys(names))
    first = _baseline(models, baseline)
    models.sort(key=lambda name: name != first)
    return Comparison(
        baseline=first,
        models=models,
        columns=[
            _compared(column, of_models, models, first, seed) for column, of_models in sorted(columns.items())
        ],
        runs=[str(run.path) for run in findings.runs],
    )


def _baseline(models: Sequence[str], named: str | None) -> str:
    if named is None or named in models:
        return named or next(iter(models), "")
    raise UsageError(f"no model is called {named}", f"the models are {', '.join(models)}")


def _names(found: Sequence[tuple[Found, Measured]]) -> list[str]:
    """A model's short name: its run or checkpoint, whether it is untrained, and its init where that is not
    the only one.
    """
    paths = [str(file.document.get("inputs", {}).get("checkpoint", file.path)) for file, _ in found]
    runs = [path.split("/checkpoints/")[0] for path in paths]
    # The step is told where a run has several.
    checkpoints = runs if len(set(runs)) == len(set(paths)) else paths
    short = short_names(checkpoints)
    inits = {result.init for _, result in found if not result.random_backbone}
    names = []
    for checkpoint, (_, result) in zip(checkpoints, found, strict=True):
        if result.random_backbone:
            names.append(f"{short[checkpoint]}, untrained")
        else:
            names.append(f"{short[checkpoint]}, {result.init}" if len(inits) > 1 else short[checkpoint])
    return names


def _column(result: Measured) -> Column:
    test = result.data.get("test") or {}
    source = test.get("source", "unknown test images")
    return Column(result.protocol, f"{source} ({result.split})", result.train_images)


def _compared(
    column: Column,
    of_models: Mapping[str, Sequence[tuple[Found, Measured]]],
    models: Sequence[str],
    first: str,
    seed: int,
) -> ComparedColumn:
    kind = next(iter(of_models.values()))[0][1]
    hits = {name: _hits(results) for name, results in of_models.items()}
    cells: dict[str, Cell] = {}
    for name in models:
        if name not in of_models:
            continue
        result = of_models[name][0][1]
        cells[name] = Cell(
            figure=statistics.fmean(hits[name].figures.values()),
            interval=_interval(hits[name], seed)
            if hits[name].by_seed or len(of_models[name]) > 1
            else result.interval,
            seeds=sorted(hits[name].figures),
            test_images=result.test_images,
            chance=result.chance,
            difference=None
            if name == first or first not in hits
            else difference(hits[name], hits[first], seed),
        )
    return ComparedColumn(**column._asdict(), measure=kind.measure, rival=kind.rival, cells=cells)


def _hits(results: Sequence[tuple[Found, Measured]]) -> Hits:
    by_seed: dict[int, dict[str, bool]] = {}
    figures: dict[int, float] = {}
    for file, result in results:
        if result.seed in figures:
            raise UsageError(
                f"{file.path} measures what another result measures too, with seed {result.seed}",
                "name each evaluation once",
            )
        figures[result.seed] = result.figure
        if file.predictions is not None:
            by_seed[result.seed] = {row.sample: row.truth == row.predicted for row in file.predictions.rows}
    return Hits(by_seed, figures)


def _interval(hits: Hits, seed: int) -> Interval | None:
    if not hits.complete:
        return None
    table = hits.table(list(next(iter(hits.by_seed.values()))))
    return _percentiles(_resampled([table], [list(range(len(table)))], seed)[0])


class Bootstrap(NamedTuple):
    """Intervals of models, None without predictions, and the first less the second of each pair of them."""

    intervals: dict[str, Interval | None]
    differences: dict[tuple[str, str], Difference]


def bootstrap(models: Mapping[str, Hits], seed: int = 0) -> Bootstrap:
    """All pairs of models in one column, by the same resamples of images and seeds."""
    pairs = list(combinations(models, 2))
    images = {frozenset(next(iter(model.by_seed.values()), ())) for model in models.values()}
    if len(images) > 1 or not all(model.complete for model in models.values()):
        return Bootstrap(
            {name: _interval(model, seed) for name, model in models.items()},
            {(one, other): difference(models[one], models[other], seed) for one, other in pairs},
        )
    tables = {name: model.table(sorted(*images)) for name, model in models.items()}
    seeds = [sorted(model.by_seed) for model in models.values()]
    drawn = dict(zip(models, _resampled(list(tables.values()), seeds, seed), strict=True))
    return Bootstrap(
        {name: _percentiles(means) for name, means in drawn.items()},
        {(a, b): _told(tables[a].mean() - tables[b].mean(), drawn[a] - drawn[b]) for a, b in pairs},
    )


def difference(model: Hits, baseline: Hits, seed: int) -> Difference:
    """The paired bootstrap of a model against another."""
    if not (model.complete and baseline.complete):
        return Difference(figure=None, interval=None, verdict="no predictions")
    images = list(next(iter(baseline.by_seed.values())))
    if set(images) != set(next(iter(model.by_seed.values()))):
        return Difference(figure=None, interval=None, verdict="other test images")
    tables = [hits.table(images) for hits in (model, baseline)]
    # Seeds that both have are drawn together; others each by themselves.
    seeds = [sorted(hits.by_seed) for hits in (model, baseline)]
    ours, theirs = _resampled(tables, seeds, seed)
    return _told(tables[0].mean() - tables[1].mean(), ours - theirs)


def _told(figure: float, drawn: "NDArray[np.float64]") -> Difference:
    low, high = _percentiles(drawn)
    verdict: Verdict = "better" if low > 0 else "worse" if high < 0 else "no verdict"
    return Difference(figure=float(figure), interval=(low, high), verdict=verdict)


def _resampled(
    tables: "Sequence[NDArray[np.float64]]", seeds: Sequence[Sequence[int]], seed: int
) -> "list[NDArray[np.float64]]":
    """`[RESAMPLES]` mean accuracies for each table `[seeds, images]`: the same images for all of them."""
    generator = np.random.default_rng(seed)
    images = tables[0].shape[1]
    block = max(1, CELLS_AT_ONCE // images)
    shares: list[list[NDArray[np.float64]]] = [[] for _ in tables]
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        weights = generator.multinomial(images, np.full(images, 1 / images), size) / images
        for found, table in zip(shares, tables, strict=True):
            found.append(weights @ table.T)
    drawn = generator.random((RESAMPLES, max(len(of_one) for of_one in seeds)))
    together = all(of_one == seeds[0] for of_one in seeds)
    means = []
    for found, of_one in zip(shares, seeds, strict=True):
        if not together:
            drawn = generator.random((RESAMPLES, len(of_one)))
        picked = (drawn[:, : len(of_one)] * len(of_one)).astype(int)
        means.append(np.take_along_axis(np.concatenate(found), picked, 1).mean(1))
    return means


def _percentiles(values: "NDArray[np.float64]") -> Interval:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def comparison(result: Comparison) -> "Figure":
    """The figure of each model in each column, as points with their intervals.

    Raises MachineError where matplotlib is not installed.
    """
    columns = result.columns
    figure, axes = canvas("Models compared", height=1.5 + 0.3 * sum(len(c.cells) + 1 for c in columns))
    colour = colours(result.models)
    place, ticks, labels = 0.0, [], []
    for column in columns:
        middle = place + (len(column.cells) - 1) / 2
        ticks.append(middle)
        cut = 14 if is_narrow() else 30
        labels.append(f"{column.test.split(' (')[0][-cut:]}\n{column.train_images:,} training images")
        for name, cell in column.cells.items():
            if cell.interval is not None:
                axes.hlines(place, *cell.interval, color=colour[name], linewidth=2)
            label = name if name not in axes.get_legend_handles_labels()[1] else None
            axes.plot(cell.figure, place, "o", color=colour[name], label=label, markersize=6)
            axes.text(cell.figure, place - 0.2, f"{cell.figure:.1%}", ha="center", fontsize=8)
            place += 1
        place += 1
    axes.set_yticks(ticks, labels)
    axes.set_ylim(place - 0.5, -1)
    axes.grid(axis="x")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    measures = " or ".join(dict.fromkeys(column.measure for column in columns))
    axes.set_xlabel(f"{measures}, 95 % interval over images and seeds")
    legend(axes, "upper right")
    return figure
