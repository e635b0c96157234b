"""Models beside each other by their evaluations; whether they differ, by bootstrap over images and seeds.

Made from result files and the `predictions.csv` or `scores.safetensors` beside them. A column is one
protocol, on one set of test images, with so many training images: nothing else stands beside each other.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import BaseModel, Field

from catlipctl.errors import UsageError
from catlipctl.reports import scores
from catlipctl.reports.bootstrap import Answered, Hits, Model, Ranked, percentiles
from catlipctl.reports.findings import Findings, Found
from catlipctl.reports.measured import Interval, Measured, MultiLabelEvaluation
from catlipctl.reports.style import canvas, colours, is_narrow, legend, short_names
from catlipctl.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def compare(findings: Findings, baseline: str | None = None, *, seed: int = 0) -> Comparison:
    """Fold all evaluations into columns of models, and test each against the baseline (the first model).

    A model is a checkpoint with its init; results that differ in the seed alone are one cell. Images are
    resampled, the same ones for both models of a pair, and so are seeds: those that both have are paired.
    Raises UsageError without an evaluation, for two results of one cell and seed, and for a baseline that no
    model is called. Files that cannot be read become faults of the findings.
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
            _compared(column, of_models, models, first, findings, seed)
            for column, of_models in sorted(columns.items())
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
    findings: Findings,
    seed: int,
) -> ComparedColumn:
    kind = next(iter(of_models.values()))[0][1]
    made = {name: _model(results, findings, seed) for name, results in of_models.items()}
    cells: dict[str, Cell] = {}
    for name in models:
        if name not in of_models:
            continue
        model, result = made[name], of_models[name][0][1]
        alone = len(model.figures) == 1 and not model.answered
        cells[name] = Cell(
            figure=statistics.fmean(model.figures.values()),
            interval=result.interval if alone else percentiles(model.resampled) if model.complete else None,
            seeds=sorted(model.figures),
            test_images=result.test_images,
            chance=result.chance,
            difference=None if name == first or first not in made else difference(model, made[first]),
        )
    return ComparedColumn(**column._asdict(), measure=kind.measure, rival=kind.rival, cells=cells)


def _model(results: Sequence[tuple[Found, Measured]], findings: Findings, seed: int) -> Model:
    """Raises UsageError for two results of one seed."""
    by_seed: dict[int, Answered] = {}
    figures: dict[int, float] = {}
    for file, result in results:
        if result.seed in figures:
            raise UsageError(
                f"{file.path} measures what another result measures too, with seed {result.seed}",
                "name each evaluation once",
            )
        figures[result.seed] = result.figure
        if (found := answered(file, result, findings)) is not None:
            by_seed[result.seed] = found
    return Model(by_seed, figures, seed)


def answered(file: Found, result: Measured, findings: Findings) -> Answered | None:
    """What an evaluation says of each test image; None where it has left nothing that says so."""
    if file.predictions is not None:
        return Hits(file.predictions)
    if isinstance(result, MultiLabelEvaluation):
        found = findings.attempt(scores.read, file.path.with_name(scores.FILE), None)
        return None if found is None else Ranked(found)
    return None


def difference(model: Model, baseline: Model) -> Difference:
    """The paired bootstrap of a model against another."""
    if not (model.complete and baseline.complete):
        return Difference(figure=None, interval=None, verdict="no predictions")
    if model.images != baseline.images:
        return Difference(figure=None, interval=None, verdict="other test images")
    low, high = percentiles(model.resampled - baseline.resampled)
    verdict: Verdict = "better" if low > 0 else "worse" if high < 0 else "no verdict"
    ours, theirs = (statistics.fmean(one.figures.values()) for one in (model, baseline))
    return Difference(figure=ours - theirs, interval=(low, high), verdict=verdict)


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
