"""The figure of a sweep: accuracy by the swept key (CatLIP Figure 6)."""

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from catlipctl.reports.style import colours, legend, outlined, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from catlipctl.reports.measured import Interval

WIDE_RANGE = 10
"""Values of which the largest is so many times the smallest stand on a logarithmic axis."""


class Series(NamedTuple):
    """One measurement: of which line, at which value of the swept key, in 0..1 with its interval of 95 %."""

    line: str
    x: Any
    figure: float
    interval: "Interval | None"


def sweep(measured: Mapping[str, Sequence[Series]], key: str, subtitle: str = "") -> "Figure":
    """A panel of each measure, one below the other; in it a dot for each run, and a line of each `line`.

    A line runs through the means of the seeds. Where a value has one run alone, the dot has its interval over
    test images. Values that are no numbers stand side by side. Raises MachineError without matplotlib.
    """
    figure, axes = panels(f"Accuracy by {key}", subtitle, [2.7] * max(len(measured), 1))
    values = list({_text(found.x): found.x for series in measured.values() for found in series}.values())
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in values)
    values = sorted(values) if numbers else values
    place = {_text(x): x if numbers else number for number, x in enumerate(values)}
    lines = list(dict.fromkeys(found.line for series in measured.values() for found in series))
    colour = colours(lines)
    for axis, (panel, series) in zip(axes, measured.items(), strict=False):
        for line in lines:
            points = [found for found in series if found.line == line]
            _draw(axis, points, place, colour[line], line, f"{panel} {line}".replace("\n", " "))
        axis.set_ylabel(panel)
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axis.margins(x=0.09, y=0.3)
        if numbers and values:
            _scale(axis, min(values), max(values))
        axis.set_xticks(list(place.values()), list(place))
        axis.set_xticks([], minor=True)
    axes[-1].set_xlabel(key)
    if len(lines) > 1:
        legend(axes[0], "upper right", min(len(lines), 3))
    return figure


def _draw(
    axes: "Axes", points: Sequence[Series], place: Mapping[str, float], colour: str, line: str, gid: str
) -> None:
    by_value: dict[float, list[Series]] = {}
    for found in points:
        by_value.setdefault(place[_text(found.x)], []).append(found)
    means = {x: statistics.fmean(p.figure for p in by_value[x]) for x in sorted(by_value)}
    axes.plot(list(means), list(means.values()), color=colour, label=line or None, gid=gid)
    for x, seeds in by_value.items():
        figures = [seed.figure for seed in seeds]
        axes.plot([x] * len(figures), figures, "o", color=colour, markersize=5)
        if len(seeds) == 1 and (interval := seeds[0].interval) is not None:
            axes.vlines(x, *interval, color=colour, linewidth=1)
        outlined(axes, f"{means[x]:.1%}", (x, means[x]), (7, 5), fontsize=8, color=colour)


def _scale(axes: "Axes", low: float, high: float) -> None:
    if low > 0 and high >= WIDE_RANGE * low:
        axes.set_xscale("log")
    elif low == 0 and high >= WIDE_RANGE:
        axes.set_xscale("symlog", linthresh=1, linscale=0.3)


def _text(value: Any) -> str:
    return f"{value:,.6g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
