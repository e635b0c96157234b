"""Figures of transfer: a probe against its control, what each start of the classifier gives, what it says."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from PIL import Image

from catlipctl.reports.style import INK, MUTED, PALETTE, canvas, colours, end_labels, is_narrow, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CHANCE = "largest class"
COLUMNS = 8
"""Of pictures in the gallery."""


class AccuracyRow(TypedDict):
    """One evaluation: `images_per_class` "1", "5", ... or "all"; `acc1` in 0..1."""

    images_per_class: str
    acc1: float


class _Point(NamedTuple):
    mean: float
    low: float
    high: float


def probe(
    series: Mapping[str, Sequence[AccuracyRow]], *, chance: float | None = None, subtitle: str = ""
) -> "Figure":
    """Bars of top-1 accuracy by images a class, one bar a series (`pre-trained`, `untrained`).

    Rows that share `images_per_class` are seeds: the bar is their mean, the whisker their range. chance:
    share of the largest class, drawn as a line.
    """
    figure, axes = canvas("Linear probe: what pre-training is worth", subtitle)
    budgets, points = _points(series)
    # The control in grey: the eye is for what was learned.
    colour = {name: (*PALETTE[:1], "#9aa4ae", *PALETTE[1:])[i] for i, name in enumerate(series)}
    width = 0.78 / len(series)
    for i, name in enumerate(series):
        for j, budget in enumerate(budgets):
            point = points[name].get(budget)
            if point is None:
                continue
            x = j + (i - (len(series) - 1) / 2) * width
            axes.bar(x, point.mean, width * 0.92, color=colour[name], label=name if j == 0 else None)
            if point.high > point.low:
                axes.vlines(x, point.low, point.high, color=INK, linewidth=1)
            axes.annotate(
                f"{point.mean:.0%}" if is_narrow() else f"{point.mean:.1%}",
                (x, point.high),
                (0, 4),
                textcoords="offset points",
                ha="center",
                color=INK,
                fontsize=8.5,
            )
    _accuracy_axes(axes, budgets, min(1.1, 1.2 * _highest(points)), chance)
    axes.set_xlim(-0.5, len(budgets) - 0.5)
    legend(axes, "upper left", len(series) + 1)
    return figure


def inits(
    series: Mapping[str, Sequence[AccuracyRow]], *, chance: float | None = None, subtitle: str = ""
) -> "Figure":
    """Lines of top-1 accuracy by images a class, one a series (`zero-shot`, `transfer`, `tuned random`).

    Rows that share `images_per_class` are seeds: the line is their mean, the band their range.
    """
    figure, axes = canvas("Where the classifier starts from", subtitle)
    budgets, points = _points(series)
    colour = colours(list(series))
    ends = {}
    for name in series:
        places = [i for i, budget in enumerate(budgets) if budget in points[name]]
        found = [points[name][budgets[i]] for i in places]
        axes.plot(
            places, [p.mean for p in found], "o-", color=colour[name], markersize=5, gid=f"inits-{name}"
        )
        axes.fill_between(
            places,
            [p.low for p in found],
            [p.high for p in found],
            color=colour[name],
            alpha=0.13,
            linewidth=0,
        )
        ends[name] = (float(places[-1]), found[-1].mean)
    _accuracy_axes(axes, budgets, min(1.05, 1.15 * _highest(points)), chance)
    axes.set_xlim(-0.2, len(budgets) - 0.9)
    if chance is not None:
        ends[CHANCE], colour[CHANCE] = (len(budgets) - 0.9, chance), MUTED
    end_labels(axes, ends, colour)
    return figure


def _highest(points: dict[str, dict[str, _Point]]) -> float:
    return max(point.high for found in points.values() for point in found.values())


def _points(series: Mapping[str, Sequence[AccuracyRow]]) -> tuple[list[str], dict[str, dict[str, _Point]]]:
    """All budgets in ascending order, and for each series its accuracy at each budget over the seeds."""
    budgets = {row["images_per_class"] for rows in series.values() for row in rows}
    points: dict[str, dict[str, _Point]] = {}
    for name, rows in series.items():
        seeds: dict[str, list[float]] = {}
        for row in rows:
            seeds.setdefault(row["images_per_class"], []).append(row["acc1"])
        points[name] = {b: _Point(sum(s) / len(s), min(s), max(s)) for b, s in seeds.items()}
    return sorted(budgets, key=lambda budget: float("inf") if budget == "all" else float(budget)), points


def _accuracy_axes(axes: "Axes", budgets: list[str], top: float, chance: float | None) -> None:
    axes.set_xticks(range(len(budgets)), budgets)
    axes.set_xlabel("training images a class")
    axes.set_ylabel("top-1 accuracy")
    axes.set_ylim(0, top)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    if chance is not None:
        axes.axhline(chance, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=3, label=CHANCE)


class Picture(NamedTuple):
    """An image or its file, its true label, and the most probable one."""

    image: Path | Image.Image
    truth: str
    guess: str
    probability: float


def gallery(
    pictures: Sequence[Picture], subtitle: str = "", title: str = "What it says of images that it never saw"
) -> "Figure":
    """Thumbnails in rows; below each what was said, and where that is wrong the truth in the second line."""
    columns = COLUMNS // 2 if is_narrow() else COLUMNS
    rows = -(-len(pictures) // columns)
    figure, axes = canvas(title, subtitle, height=0.6 + 1.22 * rows)
    axes.set_axis_off()
    for i, picture in enumerate(pictures):
        left, top = i % columns, 1.45 * (i // columns)
        image = Image.open(picture.image) if isinstance(picture.image, Path) else picture.image
        axes.imshow(image.convert("RGB"), extent=(left + 0.1, left + 0.9, top + 0.8, top), aspect="auto")
        right = picture.guess == picture.truth
        said = f"{picture.guess} {picture.probability:.0%}" + ("" if right else f"\n({picture.truth})")
        colour = INK if right else PALETTE[1]
        axes.text(left + 0.5, top + 0.86, said, ha="center", va="top", color=colour, fontsize=8.5)
    axes.set_xlim(0, columns)
    axes.set_ylim(1.45 * rows, 0)
    return figure
