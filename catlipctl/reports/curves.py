"""The curves of runs, over the samples that each has seen: several runs together, in one colour each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from catlipctl.reports import logs
from catlipctl.reports.style import PALETTE, colours, legend, numbered, panels, short_names, widths
from catlipctl.reports.training import smoothed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from catlipctl.reports.logs import Evaluated, Logged

Points = list[tuple[int, float]]
"""Samples seen, and what was measured then."""
Curves = dict[str, Points]
"""Of one run: what was measured -> its points; nothing where it was not."""

LOGGED = {"loss": "loss", "learning rate": "lr", "images/s": "images_per_second", "MFU": "mfu"}
EVALUATED = {
    "validation loss": "loss",
    "validation mAP": "mean_average_precision",
    "validation accuracy": "accuracy",
    "test accuracy": "acc1",
    "test mAP": "macro_map",
}
"""Of a curve -> its name in the rows."""
MEASURES = (*LOGGED, *EVALUATED)
SMOOTHED = ("loss", "images/s", "MFU")


def read(run: Path) -> Curves:
    """A run's curves; a run under way has them up to now, and one that has logged nothing has none."""
    return of(logs.logged(run / logs.METRICS), logs.evaluated(run / logs.EVALUATIONS))


def of(logged: Sequence["Logged"], evaluated: Sequence["Evaluated"]) -> Curves:
    """The curves of rows. Loss and speed are means, as on a page."""
    # Rows of fine-tuning runs of earlier versions tell steps alone.
    samples_at = {row.step: row.samples for row in logged}
    found: Curves = {}
    for name, key in LOGGED.items():
        points = [(row.samples, value) for row in logged if (value := getattr(row, key)) is not None]
        if name in SMOOTHED:
            means = smoothed([value for _, value in points])
            points = [(samples, mean) for (samples, _), mean in zip(points, means, strict=True)]
        found[name] = points
    for name, key in EVALUATED.items():
        found[name] = [
            (samples, value)
            for row in evaluated
            if (value := getattr(row, key)) is not None
            and (samples := row.samples or samples_at.get(row.step)) is not None
        ]
    return {name: points for name, points in found.items() if points}


def thinned(points: Points, most: int) -> Points:
    """At most so many of the points, evenly spread, with the last one."""
    if len(points) <= most:
        return points
    return [points[(number + 1) * len(points) // most - 1] for number in range(most)]


def curves(
    runs: Mapping[str, Curves],
    title: str = "Training curves",
    subtitle: str = "",
    measures: Sequence[str] = MEASURES,
) -> "Figure":
    """A panel of each measure that any of the runs has, one below the other; runs by name in one colour each.

    Raises MachineError where matplotlib is not installed.
    """
    names = short_names(list(runs))
    colour = colours(list(runs))
    shown = [measure for measure in measures if any(measure in found for found in runs.values())]
    figure, axes = panels(title, subtitle, [2.4, *[1.6] * (len(shown) - 1)] if shown else [2.4])
    for place, measure in zip(axes, shown, strict=False):
        place.set_ylabel(measure.replace("validation ", "validation\n"))
        place.margins(x=0.02, y=0.1)
        numbered(place.xaxis)
        for (run, found), width in zip(runs.items(), widths(len(runs)), strict=True):
            points = thinned(found.get(measure, []), 2000)
            marker = "o" if len(points) < 2 or measure in EVALUATED else ""
            place.plot(
                [samples for samples, _ in points],
                [value for _, value in points],
                marker=marker,
                markersize=3,
                linewidth=width,
                color=colour.get(run, PALETTE[0]),
                label=names[run],
                gid=f"{measure} {names[run]}",
            )
    axes[-1].set_xlabel("samples seen")
    for place in axes[:-1]:
        place.sharex(axes[-1])
        place.tick_params(labelbottom=False)
    if len(runs) > 1:
        legend(axes[0], "upper right")
    return figure
