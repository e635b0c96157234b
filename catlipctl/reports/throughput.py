"""Figures of throughput: captions to labels, and shards to training images."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from catlipctl.reports.style import FAINT, INK, LEGEND, PALETTE, canvas, is_narrow, numbered, thousands

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLD_AND_WARM = {"cold": PALETTE[5], "warm": PALETTE[0]}
ROW = 0.76
"""How much of a row's height its bars take together."""


def labels(speeds: Mapping[str, Mapping[str, float]], subtitle: str = "") -> "Figure":
    """Captions a second of each path, cold and warm, as two points joined by a line: the axis is logarithmic,
    and has no zero from which a bar could rise.

    speeds: path -> "cold", "warm" -> captions a second. Where one is called `reference`, how many times as
    fast the others are is written beside their numbers.
    """
    figure, axes = canvas("Captions to labels, one core", subtitle, height=1.9 + 0.62 * len(speeds))
    reference = speeds.get("reference", {})
    for row, (path, found) in enumerate(speeds.items()):
        axes.plot(list(found.values()), [row] * len(found), color=FAINT, linewidth=2.5, gid=path)
        for kind, speed in found.items():
            axes.plot([speed], [row], "o", color=COLD_AND_WARM[kind], markersize=9, label="" if row else kind)
            times = _times(speed / reference[kind]) if reference and path != "reference" else ""
            above = kind == "warm"
            axes.annotate(
                f"{thousands(speed)}{times and f'  {times}'}",
                (speed, row),
                (0, 8 if above else -8),
                textcoords="offset points",
                ha="center",
                va="bottom" if above else "top",
                color=INK,
                fontsize=9,
            )
    values = [value for found in speeds.values() for value in found.values()]
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 3, max(values) * 3)
    axes.minorticks_off()
    axes.set_xlabel("captions a second")
    numbered(axes.xaxis)
    _rows(axes, list(speeds))
    return figure


def loader(
    speeds: Mapping[str, Mapping[int, float]], ratios: Mapping[str, Mapping[int, float]], subtitle: str = ""
) -> "Figure":
    """Images a second of each path, as a horizontal bar for each size.

    speeds: path -> pixels a side -> images a second. ratios: how many times the reference's speed it is,
    written at the end of the bar; of some paths, or none.
    """
    sizes = next(iter(speeds.values()))
    height = 1.9 + 0.31 * len(speeds) * len(sizes)
    figure, axes = canvas("Shard to training images", subtitle, height=height)
    width = ROW / len(sizes)
    for row, (path, found) in enumerate(speeds.items()):
        for number, size in enumerate(sizes):
            place = row + (number - (len(sizes) - 1) / 2) * width
            colour = PALETTE[number % len(PALETTE)]
            axes.barh(place, found[size], width * 0.94, color=colour, label="" if row else f"{size} px")
            times = f"  {ratios[path][size]:.2f} x" if path in ratios else ""
            axes.annotate(
                thousands(found[size]) + times,
                (found[size], place),
                (6, 0),
                textcoords="offset points",
                va="center",
                color=INK,
                fontsize=9,
            )
    room = 1.8 if is_narrow() else 1.3
    axes.set_xlim(0, room * max(value for found in speeds.values() for value in found.values()))
    axes.set_xlabel("images a second")
    numbered(axes.xaxis)
    _rows(axes, list(speeds))
    return figure


def _rows(axes: "Axes", names: list[str]) -> None:
    """A name at the left of each row, the first one at the top, and the legend below all."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", labelcolor=INK, labelsize=10)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.figure.legend(loc="outside lower center", ncols=3, **LEGEND)  # type: ignore[union-attr]


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} x" if ratio >= 10 else f"{ratio:.1f} x"
