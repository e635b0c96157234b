"""The figure of the step benchmark."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from catlipctl.reports.style import INK, LEGEND, PALETTE, canvas, numbered

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def step(steps: Mapping[str, Mapping[str, float]], subtitle: str = "") -> "Figure":
    """One training step of each method, split into its phases, as stacked horizontal bars.

    steps: method -> phase -> seconds; phases in the order in which they run, the same for all. The first
    method stands at the top; how many times longer than the shortest the others take is written at their end.
    """
    figure, axes = canvas("One training step", subtitle, size=(7.4, 1.9 + 0.55 * len(steps)))
    phases = list(dict.fromkeys(phase for times in steps.values() for phase in times))
    totals = {name: sum(times.values()) * 1000 for name, times in steps.items()}
    fastest = min(totals.values())
    for row, (name, times) in enumerate(steps.items()):
        left = 0.0
        for i, phase in enumerate(phases):
            width = times.get(phase, 0.0) * 1000
            label = phase if row == 0 else None
            axes.barh(
                row, width, 0.58, left=left, color=PALETTE[i], edgecolor="white", linewidth=0.8, label=label
            )
            if width > 0.07 * max(totals.values()):
                axes.text(
                    left + width / 2,
                    row,
                    f"{width:,.0f}",
                    ha="center",
                    va="center",
                    color="white",
                    fontsize=8.5,
                )
            left += width
        ratio = f"  {totals[name] / fastest:.2f} x" if totals[name] > fastest else ""
        axes.annotate(
            f"{totals[name]:,.0f} ms{ratio}",
            (left, row),
            (7, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            fontweight="bold",
        )
    axes.set_yticks(range(len(steps)), list(steps))
    axes.tick_params(axis="y", labelcolor=INK, labelsize=10)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x")
    axes.set_xlim(0, max(totals.values()) * 1.24)
    axes.set_xlabel("milliseconds")
    numbered(axes.xaxis)
    axes.spines["left"].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=len(phases), **LEGEND)
    return figure
