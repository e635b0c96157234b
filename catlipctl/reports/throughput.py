"""Figures of throughput: captions to labels, shards to training images, the loop, head and loss."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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
    return _bars("Shard to training images", "images a second", speeds, ratios, subtitle, " px")


def loop(
    speeds: Mapping[str, Mapping[str, float]], ratios: Mapping[str, Mapping[str, float]], subtitle: str = ""
) -> "Figure":
    """Images a second of the loop that trains, and of the bare one; at its end how many times that it is."""
    return _bars("The training loop", "images a second", speeds, ratios, subtitle)


def loss(
    times: Mapping[str, Mapping[str, float]], ratios: Mapping[str, Mapping[str, float]], subtitle: str = ""
) -> "Figure":
    """Milliseconds of head and loss by path; at a bar's end how many times the matrix products' they are."""
    return _bars("Head and loss", "milliseconds, forward and backward", times, ratios, subtitle)


def _bars(
    title: str,
    unit: str,
    values: Mapping[str, Mapping[Any, float]],
    ratios: Mapping[str, Mapping[Any, float]],
    subtitle: str,
    suffix: str = "",
) -> "Figure":
    """A row for each path, with a bar for each of its kinds, and what multiple of another one it is."""
    kinds = list(next(iter(values.values())))
    figure, axes = canvas(title, subtitle, height=1.9 + 0.31 * max(2, len(values) * len(kinds)))
    width = ROW / len(kinds)
    for row, (path, found) in enumerate(values.items()):
        for number, kind in enumerate(kinds):
            place = row + (number - (len(kinds) - 1) / 2) * width
            colour = PALETTE[number % len(PALETTE)]
            label = f"{kind}{suffix}" if row == 0 and kind != "" else None
            axes.barh(place, found[kind], width * 0.94, color=colour, label=label)
            times = f"  {ratios[path][kind]:.2f} x" if path in ratios else ""
            axes.annotate(
                thousands(found[kind]) + times,
                (found[kind], place),
                (6, 0),
                textcoords="offset points",
                va="center",
                color=INK,
                fontsize=9,
            )
    room = 1.8 if is_narrow() else 1.3
    axes.set_xlim(0, room * max(value for found in values.values() for value in found.values()))
    axes.set_xlabel(unit)
    numbered(axes.xaxis)
    _rows(axes, list(values))
    return figure


def _rows(axes: "Axes", names: list[str]) -> None:
    """A name at the left of each row, the first one at the top, and a legend below all."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", labelcolor=INK, labelsize=10)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.figure.legend(loc="outside lower center", ncols=3, **LEGEND)  # type: ignore[union-attr]


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} x" if ratio >= 10 else f"{ratio:.1f} x"
