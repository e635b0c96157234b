"""The figure of the step benchmark."""

from collections.abc import Mapping
from textwrap import fill
from typing import TYPE_CHECKING

from catlipctl.reports.style import INK, LEGEND, PALETTE, canvas, is_narrow, numbered

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def step(parts: Mapping[str, Mapping[str, float]], note: str = "", subtitle: str = "") -> "Figure":
    """One training step of each method, split into its parts, as stacked horizontal bars.

    parts: method -> part -> seconds, the same parts for all. The first method
    stands at the top. A bar's end has its own length. note: what the bars do not show, in words below them:
    the ratio of the steps' pairs, which is not that of the bars.
    """
    figure, axes = canvas("One training step", subtitle, height=2.3 + 0.55 * len(parts))
    kinds = list(parts[next(iter(parts))])
    longest = 1000 * max(sum(times.values()) for times in parts.values())
    for row, times in enumerate(parts.values()):
        left = 0.0
        for i, part in enumerate(kinds):
            width = times.get(part, 0.0) * 1000
            label = part if row == 0 else None
            axes.barh(
                row, width, 0.58, left=left, color=PALETTE[i], edgecolor="white", linewidth=0.8, label=label
            )
            if width > (0.16 if is_narrow() else 0.07) * longest:
                place = (left + width / 2, row)
                axes.text(*place, _ms(width), ha="center", va="center", color="white", fontsize=8.5)
            left += width
        axes.annotate(
            f"{_ms(left)} ms",
            (left, row),
            (7, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            fontweight="bold",
            annotation_clip=False,
        )
    axes.set_yticks(range(len(parts)), list(parts))
    axes.tick_params(axis="y", labelcolor=INK, labelsize=10)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x")
    axes.set_xlim(0, longest * 1.02)
    axes.set_xlabel("milliseconds, medians")
    numbered(axes.xaxis)
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside lower left", ncols=2 if is_narrow() else len(kinds), **LEGEND)
    if note:
        axes.annotate(
            fill(note, 46 if is_narrow() else 100),
            (0, 0),
            (-48, -48),
            xycoords="axes fraction",
            textcoords="offset points",
            va="top",
            color=INK,
            fontsize=9,
            gid="note",
        )
    return figure


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
