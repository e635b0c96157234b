"""The figure of a frontier: accuracy against what it cost, with the Pareto front drawn (CatLIP, Figure 4)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from catlipctl.reports.style import FAINT, colours, is_narrow, legend, panels, thousands

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from catlipctl.reports.measured import Interval

COSTS = {
    "seconds": "seconds of training, timed in turns on this machine",
    "samples": "pairs seen",
    "flops": "operations of training",
}
"""What accuracy is shown against -> how its axis is called."""
GAP = 3
"""Points between the intervals of methods at the same cost."""


class Dot(NamedTuple):
    """A method at a budget: its mean accuracy over seeds, in 0..1 with an interval of 95 %, and its costs."""

    method: str
    costs: dict[str, float]
    figure: float
    interval: "Interval | None"


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The numbers of those (cost, accuracy) that no other one dominates, by ascending cost.

    One dominates another that costs as much or more and is as accurate or less, unless both are equal.
    """
    order = sorted(range(len(points)), key=lambda at: (points[at][0], -points[at][1]))
    found: list[int] = []
    for at in order:
        if not found or points[at][1] > points[found[-1]][1] or points[at] == points[found[-1]]:
            found.append(at)
    return found


def frontier(dots: Sequence[Dot], measure: str, title: str, subtitle: str = "") -> "Figure":
    """A panel for each cost, one below the other; in it a line of each method, and the front below them all.

    measure: what `figure` of the dots is. Raises MachineError without matplotlib.
    """
    costs = [cost for cost in COSTS if all(cost in dot.costs for dot in dots)]
    figure, axes = panels(title, subtitle, [3.0] * max(len(costs), 1))
    methods = list(dict.fromkeys(dot.method for dot in dots))
    colour = colours(methods)
    for axis, cost in zip(axes, costs, strict=False):
        _front(axis, dots, cost)
        for method in methods:
            of_one = sorted((d for d in dots if d.method == method), key=lambda d: d.costs[cost])
            aside = GAP * (methods.index(method) - (len(methods) - 1) / 2)
            _line(axis, of_one, cost, colour[method], aside)
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(lambda value, _: _told(value))
        places = sorted({dot.costs[cost] for dot in dots})
        if len(places) <= (3 if is_narrow() else 6):
            axis.set_xticks(places)
        axis.set_xticks([], minor=True)
        axis.set_xlabel(COSTS[cost])
        axis.set_ylabel(measure)
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axis.margins(x=0.08, y=0.15)
    legend(axes[0], "upper left", min(len(methods) + 1, 3))
    return figure


def _front(axes: "Axes", dots: Sequence[Dot], cost: str) -> None:
    points = [(dot.costs[cost], dot.figure) for dot in dots]
    best = [points[at] for at in front(points)]
    x, y = [place for place, _ in best], [figure for _, figure in best]
    if points:
        x, y = [*x, max(place for place, _ in points)], [*y, y[-1]]
    axes.plot(
        x, y, drawstyle="steps-post", color=FAINT, linewidth=6, zorder=0.5, label="Pareto front", gid="front"
    )


def _line(axes: "Axes", dots: Sequence[Dot], cost: str, colour: str, aside: float) -> None:
    """aside: points by which its intervals stand beside those of other methods at the same cost."""
    from matplotlib.transforms import offset_copy

    x = [dot.costs[cost] for dot in dots]
    method = dots[0].method
    axes.plot(x, [dot.figure for dot in dots], "o-", color=colour, markersize=5, label=method, gid=method)
    beside = offset_copy(axes.transData, axes.figure, x=aside, units="points")  # type: ignore[arg-type]
    for place, dot in zip(x, dots, strict=True):
        if dot.interval is not None:
            axes.plot([place] * 2, dot.interval, color=colour, linewidth=1, transform=beside)


def _told(value: float) -> str:
    """0.35; 1,500; 1.5 M; 3e15."""
    if value < 100:
        return f"{value:.3g}"
    return thousands(value) if value < 1e12 else f"{value:.2g}".replace("e+", "e")
