"""The figure of the saves benchmark."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from catlipctl.reports.style import INK, LEGEND, PALETTE, canvas, is_narrow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = {"stall": "training stands still", "lost": "training is longer by"}


def saves(seconds: Mapping[str, Mapping[str, float]], subtitle: str = "") -> "Figure":
    """What a save costs the training, by the way in which it is written, as horizontal bars.

    seconds: way -> "stall", "lost" -> seconds.
    """
    figure, axes = canvas("What a save costs the training", subtitle, height=2.1 + 0.7 * len(seconds))
    for row, found in enumerate(seconds.values()):
        for number, (kind, label) in enumerate(KINDS.items()):
            place = row + (number - 0.5) * 0.38
            colour = PALETTE[number]
            axes.barh(place, found[kind], 0.36, color=colour, label="" if row else label)
            axes.annotate(
                f"{found[kind]:.2f} s",
                (max(0.0, found[kind]), place),
                (6, 0),
                textcoords="offset points",
                va="center",
                color=INK,
                fontsize=9,
            )
    room = 1.5 if is_narrow() else 1.15
    axes.set_xlim(0, room * max(max(found.values()) for found in seconds.values()))
    axes.set_yticks(range(len(seconds)), list(seconds))
    axes.set_ylim(len(seconds) - 0.4, -0.6)
    axes.tick_params(axis="y", labelcolor=INK, labelsize=10)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("seconds, medians of the rounds")
    figure.legend(loc="outside lower center", ncols=1 if is_narrow() else 2, **LEGEND)
    return figure
