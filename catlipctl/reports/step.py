"""The figure of the step benchmark."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from catlipctl.reports.style import INK, LEGEND, PALETTE, canvas, numbered

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def step(
    phases: Mapping[str, Mapping[str, float]],
    seconds: Mapping[str, float] | None = None,
    ratios: Mapping[str, float] | None = None,
    subtitle: str = "",
) -> "Figure":
    """One training step of each method, split into its phases, as stacked horizontal bars.

    phases: method -> phase -> seconds, in the order in which they run, the same for all. The first method
    stands at the top. seconds: method -> the whole step, written at the bar's end; default the sum of its
    phases (medians of phases do not sum to the median of the step). ratios: method -> how many times as long
    as the first, written beside it; default of `seconds`.
    """
    seconds = seconds or {name: sum(times.values()) for name, times in phases.items()}
    first = next(iter(phases))
    ratios = ratios or {name: seconds[name] / seconds[first] for name in phases if name != first}
    figure, axes = canvas("One training step", subtitle, size=(7.4, 1.9 + 0.55 * len(phases)))
    kinds = list(phases[first])
    longest = 1000 * max(sum(times.values()) for times in phases.values())
    for row, (name, times) in enumerate(phases.items()):
        left = 0.0
        for i, phase in enumerate(kinds):
            width = times.get(phase, 0.0) * 1000
            label = phase if row == 0 else None
            axes.barh(
                row, width, 0.58, left=left, color=PALETTE[i], edgecolor="white", linewidth=0.8, label=label
            )
            if width > 0.07 * longest:
                axes.text(
                    left + width / 2,
                    row,
                    _ms(width),
                    ha="center",
                    va="center",
                    color="white",
                    fontsize=8.5,
                )
            left += width
        ratio = f"  {ratios[name]:.2f} x" if name in ratios else ""
        axes.annotate(
            f"{_ms(1000 * seconds[name])} ms{ratio}",
            (left, row),
            (7, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            fontweight="bold",
        )
    axes.set_yticks(range(len(phases)), list(phases))
    axes.tick_params(axis="y", labelcolor=INK, labelsize=10)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x")
    axes.set_xlim(0, longest * 1.24)
    axes.set_xlabel("milliseconds")
    numbered(axes.xaxis)
    axes.spines["left"].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.6 / len(phases)), ncols=len(kinds), **LEGEND)
    return figure


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
