"""The figure of the label benchmark."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from catlipctl.reports.style import INK, LEGEND, PALETTE, canvas, numbered, thousands

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"cold": PALETTE[5], "warm": PALETTE[0]}
WIDTH = 0.36


def labels(speeds: Mapping[str, Mapping[str, float]], subtitle: str = "") -> "Figure":
    """Captions a second of each path, cold and warm, as pairs of horizontal bars on a logarithmic axis.

    speeds: path -> "cold", "warm" -> captions a second. Where one is called `reference`, how many times as
    fast the others are is written at the ends of their bars.
    """
    figure, axes = canvas("Captions to labels, one core", subtitle, size=(7.4, 1.9 + 0.62 * len(speeds)))
    reference = speeds.get("reference")
    for row, (name, found) in enumerate(speeds.items()):
        for kind, place in (("cold", row - WIDTH / 2), ("warm", row + WIDTH / 2)):
            label = kind if row == 0 else None
            axes.barh(place, found[kind], WIDTH * 0.94, color=COLOURS[kind], label=label)
            times = f"  {_times(found[kind] / reference[kind])}" if reference and name != "reference" else ""
            axes.annotate(
                thousands(found[kind]) + times,
                (found[kind], place),
                (6, 0),
                textcoords="offset points",
                va="center",
                color=INK,
                fontsize=9,
            )
    values = [value for found in speeds.values() for value in found.values()]
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 3, max(values) * 6)
    axes.set_yticks(range(len(speeds)), list(speeds))
    axes.tick_params(axis="y", labelcolor=INK, labelsize=10)
    axes.minorticks_off()
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x")
    axes.set_xlabel("captions a second")
    numbered(axes.xaxis)
    axes.spines["left"].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, **LEGEND)
    return figure


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} x" if ratio >= 10 else f"{ratio:.1f} x"
