"""How all figures look: in colours that everybody can tell apart; SVGs also for readers who prefer dark."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal

from catlipctl.errors import MachineError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito's palette, its yellow left out: on a light ground it cannot be seen.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK = "#1f2328"
MUTED = "#656d76"
FAINT = "#d0d7de"
GRID = "#eaeef2"
GROUND = "#ffffff"
DARK = {
    GROUND: "#161b22",
    INK: "#e6e8ea",
    MUTED: "#9aa4ae",
    FAINT: "#48515b",
    GRID: "#2a313a",
    "#0072B2": "#4ca3e0",
    "#D55E00": "#f0813a",
    "#009E73": "#2bbd92",
    "#CC79A7": "#dd98be",
    "#E69F00": "#eab040",
    "#56B4E9": "#9bd3f5",
}
"""What each colour is for a reader who prefers dark: at least 3 : 1 against the ground there."""
LEGEND: dict[str, Any] = {"frameon": False, "handlelength": 1, "columnspacing": 1.6, "labelcolor": INK}
OF_A_RUN = "/vocabulary.json"
"""A run or checkpoint is known by its folder."""
SHORT_NAME = 28
LONG_NAME = 34
"""Characters that a legend and a subtitle have room for."""
WIDE = 7.4
NARROW = 3.6
"""Inches. A page shows a narrow figure 345 pixels wide on a phone of 400: 8.5 points are 11 pixels there."""
SUBTITLE = "subtitle"
_narrow: ContextVar[bool] = ContextVar("narrow", default=False)

SETTINGS: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "axes.facecolor": GROUND,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9.5,
    "axes.labelpad": 7,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "figure.facecolor": GROUND,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.hashsalt": "catlipctl",
}


@contextmanager
def for_phones() -> Iterator[None]:
    """Figures that are drawn inside are as narrow as a phone, with text of the same size."""
    token = _narrow.set(True)
    try:
        yield
    finally:
        _narrow.reset(token)


def is_narrow() -> bool:
    """Whether figures are drawn for a phone now."""
    return _narrow.get()


def canvas(title: str, subtitle: str = "", height: float = 4.3) -> "tuple[Figure, Axes]":
    """An empty figure in the house style: a bold title at the left, a grey line below it, horizontal grid
    lines. height: in inches.

    Raises MachineError where matplotlib is not installed.
    """
    figure, (axes,) = panels(title, subtitle, (height,))
    return figure, axes


def beside(title: str, subtitle: str = "", height: float = 4.3) -> "tuple[Figure, list[Axes]]":
    """A `canvas` with two axes side by side; on a phone one below the other."""
    if is_narrow():
        return panels(title, subtitle, (0.8 * height, 0.8 * height))
    return panels(title, subtitle, (height,), columns=2)


def panels(
    title: str, subtitle: str, heights: Sequence[float], columns: int = 1
) -> "tuple[Figure, list[Axes]]":
    """A `canvas` with several axes, row by row; heights: of the rows, in inches."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MachineError("plots need matplotlib", "pip install 'catlipctl[plot]'") from error
    with matplotlib.rc_context(SETTINGS):
        size = (NARROW if is_narrow() else WIDE, sum(heights))
        figure = Figure(figsize=size, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.14, h_pad=0.12)  # type: ignore[union-attr, call-arg]
        made = list(figure.subplots(len(heights), columns, squeeze=False, height_ratios=heights).flat)
        made[0].set_title(title, pad=26 if subtitle else 12)
        if subtitle:
            made[0].annotate(
                subtitle,
                (0, 1),
                (0, 9),
                xycoords="axes fraction",
                textcoords="offset points",
                color=MUTED,
                va="bottom",
                gid=SUBTITLE,
            ).set_in_layout(False)  # a long path may be cut off, but not squeeze the plot
        for axes in made:
            axes.grid(axis="y")
            axes.tick_params(length=0)
    return figure, made


def without_titles(figure: "Figure") -> tuple[str, str]:
    """Take title and subtitle off a figure, and return them: a page says them in its own text."""
    axes = figure.axes[0]
    title = axes.get_title(loc="left")
    axes.set_title("", loc="left")
    subtitles = [text for text in axes.texts if text.get_gid() == SUBTITLE]
    for text in subtitles:
        text.remove()
    return title, " ".join(text.get_text() for text in subtitles)


def colours(names: list[str]) -> dict[str, str]:
    """A colour for each name, in order; they repeat after six."""
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}


def short_names(names: Sequence[str]) -> dict[str, str]:
    """What tells each name apart: `runs/a/vocabulary.json` and `runs/b/vocabulary.json` are `a` and `b`.

    Paths lose the folders at their beginning and end that all of them share; a single name, and what is
    still long, keeps its end.
    """
    parts = {name: name.split("/") for name in dict.fromkeys(names)}
    if len(parts) > 1:
        parts = _without_shared(parts, end=False)
        inner = _without_shared(parts, end=True)
        # Nothing would be left of `vocabulary.json` beside `b/vocabulary.json`.
        parts = {name: inner[name] or found for name, found in parts.items()}
    longest = SHORT_NAME if len(parts) > 1 else LONG_NAME
    joined = {name: "/".join(found).removesuffix(OF_A_RUN) or name for name, found in parts.items()}
    cut = {name: text if len(text) <= longest else f"…{text[1 - longest :]}" for name, text in joined.items()}
    return cut if len(set(cut.values())) == len(cut) else joined


def _without_shared(parts: dict[str, list[str]], *, end: bool) -> dict[str, list[str]]:
    """The parts of each name but for those at the beginning, or at the end, that all share."""
    step = -1 if end else 1
    columns = zip(*(found[::step] for found in parts.values()), strict=False)
    shared = len(list(takewhile(lambda column: len(set(column)) == 1, columns)))
    return {name: found[::step][shared:][::step] for name, found in parts.items()}


def thousands(value: float) -> str:
    """12345 -> 12,345; 1234567 -> 1.23 M; 1280000000 -> 1.28 G."""
    if value >= 1e9:
        return f"{value / 1e9:.3g} G"
    return f"{value / 1e6:.3g} M" if value >= 1e6 else f"{value:,.0f}"


def numbered(axis: "Axis") -> None:
    """Ticks at whole numbers, in thousands and millions: 25,000, 1.3 M."""
    from matplotlib.ticker import MaxNLocator

    locator = axis.get_major_locator()
    if isinstance(locator, MaxNLocator):
        locator.set_params(integer=True, nbins=3 if is_narrow() else 9)
    axis.set_major_formatter(lambda value, _: thousands(value))


def logarithmic(axes: "Axes", which: Literal["x", "y"], low: float, high: float, *, ticks: int = 9) -> None:
    """Make an axis logarithmic for values from `low` to `high`, with up to about so many ticks: at 1, 2, 5,
    10, ..., or at 1, 10, 100, ..., or at some of these. Linear below 1, so that 0 has a place.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    scale = axes.set_xscale if which == "x" else axes.set_yscale
    if low < 1:
        scale("symlog", linthresh=1, linscale=0.3)
    else:
        scale("log")
    ticks = min(ticks, 4) if is_narrow() else ticks
    decades = math.log10(max(high / max(low, 1), 1))
    powers = [10**k for k in range(0, len(f"{int(high)}") + 1, math.ceil(decades / ticks) or 1)]
    digits = (1, 2, 5) if 3 * decades <= ticks - 1 else (1,)
    places = [0, *(digit * power for power in powers for digit in digits)]
    axis.set_ticks([place for place in places if low <= place <= high])
    axis.set_ticks([], minor=True)
    numbered(axis)


def widths(count: int) -> list[float]:
    """Of so many lines drawn one after the other: of those that are equal, the earlier look out at both
    sides.
    """
    return [2 + 2 * min(count - 1 - number, 4) for number in range(count)]


def legend(axes: "Axes", loc: Literal["upper left", "upper right"], columns: int = 1) -> None:
    """A legend inside the axes at `loc`; on a phone, where it would cover them, below."""
    if is_narrow():
        handles = axes.get_legend_handles_labels()
        axes.figure.legend(*handles, loc="outside lower left", ncols=min(columns, 2), **LEGEND)  # type: ignore[union-attr]
    else:
        axes.legend(loc=loc, ncols=columns, **LEGEND)


def outlined(
    axes: "Axes", text: str, point: tuple[float, float], offset: tuple[float, float], **kwargs: Any
) -> None:
    """Write `text` beside a point (offset in points), outlined so that it reads across lines."""
    from matplotlib.patheffects import withStroke

    outline = [withStroke(linewidth=2.5, foreground=GROUND)]
    kwargs = {"color": INK, "path_effects": outline, **kwargs}
    axes.annotate(text, point, offset, textcoords="offset points", **kwargs)


def end_labels(axes: "Axes", labels: dict[str, tuple[float, float]], colour: dict[str, str]) -> None:
    """Name each line at its right end, pushed apart where names would touch, in place of a legend.

    labels: name -> the line's last point in data coordinates. Call it when the axes' limits are set.
    """
    low, high = axes.get_ylim()
    height = axes.get_window_extent().height * 72 / axes.figure.dpi
    points = {name: (y - low) / (high - low) * height for name, (_, y) in labels.items()}
    for name, at in _spread(points, gap=14).items():
        axes.annotate(
            name,
            labels[name],
            (9, at - points[name]),
            textcoords="offset points",
            color=colour[name],
            va="center",
            fontweight="bold",
            annotation_clip=False,
        )


def _spread(places: dict[str, float], gap: float) -> dict[str, float]:
    """The places, in their order and `gap` apart: those that would touch stand around their mean."""
    clusters: list[list[str]] = []

    def bottom(cluster: list[str]) -> float:
        return sum(places[name] for name in cluster) / len(cluster) - gap * (len(cluster) - 1) / 2

    for name in sorted(places, key=lambda name: places[name]):
        cluster = [name]
        while clusters and bottom(cluster) < bottom(clusters[-1]) + gap * len(clusters[-1]):
            cluster = clusters.pop() + cluster
        clusters.append(cluster)
    return {name: bottom(cluster) + gap * i for cluster in clusters for i, name in enumerate(cluster)}
