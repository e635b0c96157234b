"""A frontier's tables, for the terminal and for its page."""

from collections.abc import Sequence
from pathlib import Path

from catlipctl import reports
from catlipctl.experiments.frontiers.methods import Differing
from catlipctl.experiments.frontiers.result import RESULT, Frontier, Mean
from catlipctl.reports import Figure, Link, Links, Section, Table
from catlipctl.reports.frontier import COSTS, frontier
from catlipctl.reports.measured import Interval
from catlipctl.reports.page import Part

PAGE = "frontier.html"


def means(result: Frontier, probe: str) -> Table:
    """Each method at each budget on one probe, and what it cost."""
    found = [mean for mean in result.means if mean.probe == probe]
    columns = ["method", "budget", f"{probe}, %", "95 %", "pairs", "timed s", "took s", "CPU s", "TFLOP"]
    rows = [
        [
            mean.method,
            mean.budget,
            f"{100 * mean.figure:.1f}",
            _interval(mean.interval),
            f"{mean.costs['samples']:,.0f}",
            _seconds(mean.costs["seconds"]),
            _seconds(mean.seconds),
            _seconds(mean.cpu_seconds),
            f"{mean.costs['flops'] / 1e12:,.3g}" if "flops" in mean.costs else "–",
            ", ".join(mean.on_front) or "–",
        ]
        for mean in found
    ]
    return Table([*columns, "on the front by"], rows)


def pairs(result: Frontier, probe: str) -> Table:
    """Pairs of methods at each budget: points of accuracy between them."""
    rows = [
        [
            pair.budget,
            f"{pair.method} less {pair.other}",
            "–" if pair.difference.figure is None else f"{100 * pair.difference.figure:+.1f}",
            _interval(pair.difference.interval, signed=True),
            pair.difference.verdict,
        ]
        for pair in result.pairs
        if pair.probe == probe
    ]
    return Table(["budget", f"on {probe}", "points", "95 %", "verdict"], rows)


def tunings(result: Frontier) -> Table:
    """The whole grid, by held-out accuracy."""
    rows = []
    for tuning in result.tunings:
        for point in tuning.grid:
            is_chosen = tuning.chosen == (point.lr, point.weight_decay)
            edge = f", at the edge of {' and '.join(tuning.at_edge)}" if tuning.at_edge else ""
            score = "–" if point.score is None else f"{100 * point.score:.1f}"
            told = f"chosen{edge}" if is_chosen else point.error or ""
            rows.append([tuning.method, f"{point.lr:g}", f"{point.weight_decay:g}", score, told])
        if not tuning.grid and tuning.chosen is not None:
            rows.append([tuning.method, *(f"{rate:g}" for rate in tuning.chosen), "–", "given"])
    return Table(["method", "lr", "weight decay", "held-out, %", ""], rows)


def timings(result: Frontier) -> Table:
    """What a sample takes."""
    rows = [
        [
            method,
            f"{1000 * timing.seconds_per_sample:.3g}",
            f"{100 * timing.spread:.0f}",
            f"{1000 * timing.cpu_seconds_per_sample:.3g}",
            f"{len(timing.rounds)}",
        ]
        for method, timing in result.timings.items()
    ]
    return Table(["method", "ms a pair", "spread, %", "CPU ms a pair", "rounds"], rows)


def differences(found: Sequence[Differing], methods: Sequence[str]) -> Table:
    """The recipe keys in which methods differ."""
    rows = [
        [
            one.key,
            "the method" if one.expected else "not the method",
            *(_value(one.values[m]) for m in methods),
        ]
        for one in found
    ]
    return Table(["key", "part of", *methods], rows)


def targets(result: Frontier) -> Table:
    """What it takes to reach the targets."""
    rows = [
        [
            one.method,
            f"{one.probe} {100 * one.target:.1f} %",
            one.budget or "not reached",
            _seconds(one.seconds),
            "–" if one.times_as_fast is None else f"{one.times_as_fast:.2f}",
            "–" if one.range is None else f"{one.range[0]:.2f} to {one.range[1]:.2f}",
        ]
        for one in result.reached
    ]
    return Table(["method", "target", "at", "timed s", "times as fast", "in each round"], rows)


def probes(result: Frontier) -> list[str]:
    """Those that have a mean."""
    return list(dict.fromkeys(mean.probe for mean in result.means))


def tables(result: Frontier) -> list[Table]:
    """All of them, the conclusion last."""
    found = [tunings(result), timings(result)]
    if result.differing:
        found.insert(0, differences(result.differing, result.methods))
    for probe in probes(result):
        found += [means(result, probe), pairs(result, probe)]
    return [table for table in [*found, targets(result)] if table.rows]


def figure(result: Frontier, probe: str) -> Figure:
    """Accuracy against cost on a probe."""
    seeds = max((len(mean.seeds) for mean in result.means if mean.probe == probe), default=0)
    title, about = f"Accuracy against cost: {probe}", f"means of {seeds} seeds, 95 % over images and seeds"
    measure = next((mean.measure for mean in result.means if mean.probe == probe), "")
    return Figure(lambda: frontier(result.dots(probe), f"{probe}, {measure}", title, about))


def write(result: Frontier, path: Path) -> None:
    """Write the page: one HTML file that needs no network. Raises MachineError without matplotlib."""
    made = []
    for probe in probes(result):
        parts: list[Part] = [_sentence(result, probe), figure(result, probe), means(result, probe)]
        made.append(Section(f"Accuracy against cost: {probe}", [*parts, pairs(result, probe)]))
    how: list[Part] = [
        f"A linear probe of the pooled features before the head, the same for all; each rate was chosen by "
        f"held-out training images at {result.budgets[0]}. A front is of means: no other mean is as good for "
        f"less. Costs are {', '.join(COSTS.values())}. Counting captions, start-up and the probes are in no "
        "budget. Batch, crops and warm-up are the recipes' and in no grid. Verdicts are not corrected for "
        "their number, and an interval over three seeds is narrower than 95 %.",
        tunings(result),
        timings(result),
        differences(result.differing, result.methods),
        Links([Link(RESULT, path.with_name(RESULT))]),
    ]
    if result.reached:
        made.append(Section("Time to the target", [targets(result)]))
    reports.write(path, "Accuracy against cost", [*made, Section("How it was made", how)])


def _sentence(result: Frontier, probe: str) -> str:
    best: dict[str, Mean] = {}
    for mean in result.means:
        if mean.probe == probe and mean.figure > getattr(best.get(mean.budget), "figure", -1):
            best[mean.budget] = mean
    told = (f"at {budget} {mean.method} ({mean.figure:.1%})" for budget, mean in best.items())
    return f"The best mean is that of {'; '.join(told)}."


def _interval(interval: Interval | None, *, signed: bool = False) -> str:
    if interval is None:
        return "–"
    sign = "+" if signed else ""
    return " to ".join(f"{100 * end:{sign}.1f}" for end in interval)


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.2g}"


def _value(value: object) -> str:
    return "–" if value is None else str(value)
