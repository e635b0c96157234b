"""The figure of a run that trains."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from catlipctl.reports import findings
from catlipctl.reports.findings import RunRecipe
from catlipctl.reports.logs import METRICS, Logged, logged
from catlipctl.reports.style import INK, MUTED, PALETTE, canvas, numbered, outlined, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rate = tuple[int, int, float]
"""Step, samples seen up to it, learning rate."""


def run_loss(run: Path, title: str = "Pre-training loss") -> "Figure":
    """The `loss` of what a run has logged; raises DataError for a recipe that is none."""
    recipe = findings.recipe(run / findings.RECIPE)
    return loss(logged(run / METRICS), recipe, str(run), title)


def loss(
    rows: Sequence[Logged],
    recipe: RunRecipe | None = None,
    subtitle: str = "",
    title: str = "Pre-training loss",
) -> "Figure":
    """The loss over the samples seen, smoothed, with the logged values pale behind it; below it the learning
    rate, with its peak.

    recipe: of the run; it knows the peak, which no logged step need have hit.
    """
    rates = [(row.step, row.samples, row.lr) for row in rows if row.lr is not None]
    if rates:
        figure, (axes, below) = panels(title, subtitle, (3.3, 1.4))
        _rate(below, rates, recipe)
        below.sharex(axes)
        axes.tick_params(labelbottom=False)
    else:
        figure, below = canvas(title, subtitle)
        axes = below
    samples = [row.samples for row in rows]
    losses = [row.loss for row in rows]
    means = smoothed(losses)
    axes.plot(samples, losses, color=PALETTE[0], alpha=0.3, linewidth=1, gid="logged")
    axes.plot(samples, means, color=PALETTE[0], gid="loss")
    axes.set_ylabel("loss, smoothed")
    axes.margins(x=0.02, y=0.1)
    if rows:
        _beside(axes, f"{means[-1]:.4g}", (samples[-1], means[-1]))
    below.set_xlabel("samples seen")
    numbered(below.xaxis)
    return figure


def smoothed(values: Sequence[float]) -> list[float]:
    """Means over a twentieth of the values around each, or over five where they are few.

    The window shrinks at the beginning, where the loss falls fast, and not at the end: the last mean is that
    of the last values, and no single one.
    """
    count = len(values)
    window = max(1, count // 20, min(5, count // 3))
    sums = [0.0, *accumulate(values)]
    means = []
    for i in range(count):
        reach = min(i, window // 2)
        start, stop = (i - reach, i + reach + 1) if i + reach + 1 < count else (count - window, count)
        means.append((sums[stop] - sums[start]) / (stop - start))
    return means


def peak(rates: Sequence[Rate], recipe: RunRecipe | None) -> tuple[float, float]:
    """Samples seen and learning rate at the highest rate of the run so far.

    The rate rises up to the step after the warm-up, where it is the recipe's `optimiser.lr`; a run that ended
    earlier logged its highest rate in its last row. A recipe with a rate or a warm-up that is relative to
    the run has the highest one that was logged.
    """
    _, samples, highest = max(rates, key=lambda rate: rate[2])
    lr, warmup = (recipe.optimiser.lr, recipe.schedule.warmup_steps) if recipe else (None, None)
    relative = recipe and (recipe.optimiser.lr_per or recipe.schedule.warmup_share is not None)
    if lr is None or warmup is None or relative or not rates[0][0] <= warmup + 1 <= rates[-1][0]:
        return samples, highest
    after = bisect_left(rates, warmup + 1, key=lambda rate: rate[0])
    low, high = rates[max(after - 1, 0)], rates[after]
    part = (warmup + 1 - low[0]) / max(high[0] - low[0], 1)
    return low[1] + part * (high[1] - low[1]), lr


def _rate(axes: "Axes", rates: Sequence[Rate], recipe: RunRecipe | None) -> None:
    at, highest = peak(rates, recipe)
    points = sorted({(samples, rate) for _, samples, rate in rates} | {(at, highest)})
    axes.plot(*zip(*points, strict=True), color=MUTED, linewidth=1.4, gid="lr")
    axes.plot([at], [highest], "o", color=MUTED, markersize=4)
    axes.set_ylim(0, 1.3 * highest or 1)
    axes.set_yticks([0, highest], ["0", f"{highest:.3g}"])
    axes.set_ylabel("learning rate")
    left = at > points[-1][0] / 2
    outlined(
        axes,
        f"peak {highest:.3g}",
        (at, highest),
        (-6 if left else 6, 3),
        ha="right" if left else "left",
        fontsize=9,
    )


def _beside(axes: "Axes", text: str, point: tuple[float, float]) -> None:
    """Write `text` at the right of a line's last point, where no line is."""
    axes.plot(*([value] for value in point), "o", color=PALETTE[0], markersize=4)
    axes.annotate(
        text,
        point,
        (8, 0),
        textcoords="offset points",
        va="center",
        color=INK,
        fontweight="bold",
        annotation_clip=False,
        gid="last",
    )
