"""Figures of throughput: captions to labels, and shards to training images."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from catlipctl.reports.style import INK, LEGEND, PALETTE, canvas, numbered, thousands

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLD_AND_WARM = {"cold": PALETTE[5], "warm": PALETTE[0]}
ROW = 0.76
"""How much of a row's height its bars take together."""


def labels(speeds: Mapping[str, Mapping[str, float]], subtitle: str = "") -> "Figure":
    """Captions a second of each path, cold and warm, as pairs of horizontal bars on a logarithmic axis.

    speeds: path -> "cold", "warm" -> captions a second. Where one is called `reference`, how many times as
    fast the others are is written at the ends of their bars.
    """
    figure, axes = canvas("Captions to labels, one core", subtitle, size=(7.4, 1.9 + 0.62 * len(speeds)))
    reference = speeds.get("reference", {})
    times = {
        path: {kind: _times(speed / reference[kind]) for kind, speed in found.items()}
        for path, found in speeds.items()
        if reference and path != "reference"
    }
    _bars(axes, speeds, COLD_AND_WARM, str, times)
    values = [value for found in speeds.values() for value in found.values()]
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 3, max(values) * 6)
    axes.minorticks_off()
    axes.set_xlabel("captions a second")
    numbered(axes.xaxis)
    return figure


def loader(
    speeds: Mapping[str, Mapping[int, float]], ratios: Mapping[str, Mapping[int, float]], subtitle: str = ""
) -> "Figure":
    """Images a second of each path, as a horizontal bar for each size.

    speeds: path -> pixels a side -> images a second. ratios: how many times the reference's speed it is,
    written at the end of the bar; of some paths, or none.
    """
    sizes = next(iter(speeds.values()))
    colours = {size: PALETTE[number % len(PALETTE)] for number, size in enumerate(sizes)}
    figure, axes = canvas(
        "Shard to training images", subtitle, size=(7.4, 1.9 + 0.31 * len(speeds) * len(sizes))
    )
    times = {path: {size: f"{r:.2f} x" for size, r in found.items()} for path, found in ratios.items()}
    _bars(axes, speeds, colours, "{} px".format, times)
    axes.set_xlim(0, 1.3 * max(value for found in speeds.values() for value in found.values()))
    axes.set_xlabel("images a second")
    numbered(axes.xaxis)
    return figure


def _bars(
    axes: "Axes",
    speeds: Mapping[str, Mapping[Any, float]],
    colours: Mapping[Any, str],
    name: Callable[[Any], str],
    times: Mapping[str, Mapping[Any, str]],
) -> None:
    """A row of bars for each path, a bar of a row for each key of `colours`.

    times: what is written at a bar's end beside its number, of some paths.
    """
    width = ROW / len(colours)
    for row, (path, found) in enumerate(speeds.items()):
        for number, (kind, colour) in enumerate(colours.items()):
            place = row + (number - (len(colours) - 1) / 2) * width
            axes.barh(place, found[kind], width * 0.94, color=colour, label=name(kind) if row == 0 else None)
            faster = f"  {times[path][kind]}" if path in times else ""
            axes.annotate(
                thousands(found[kind]) + faster,
                (found[kind], place),
                (6, 0),
                textcoords="offset points",
                va="center",
                color=INK,
                fontsize=9,
            )
    axes.set_yticks(range(len(speeds)), list(speeds))
    axes.tick_params(axis="y", labelcolor=INK, labelsize=10)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=len(colours), **LEGEND)


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} x" if ratio >= 10 else f"{ratio:.1f} x"
