"""The figure of a tagger: macro F1 of one threshold for all labels, by threshold, and of one a label."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from catlipctl.reports.style import MUTED, PALETTE, canvas, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Measured(Protocol):
    """What tags are worth by one way of thresholds."""

    @property
    def macro_f1(self) -> float: ...


class Tagger(Protocol):
    """What the figure takes of `TaggerResult`: curve has threshold, macro F1, micro F1."""

    @property
    def curve(self) -> Sequence[tuple[float, float, float]]: ...
    @property
    def each(self) -> Measured: ...
    @property
    def all_told(self) -> float: ...
    @property
    def measured_classes(self) -> int: ...


def tagger(result: Tagger) -> "Figure":
    """Raises MachineError where matplotlib is not installed."""
    figure, axes = canvas("One threshold a label, or one for all", f"{result.measured_classes:,} labels")
    thresholds, macro, _ = zip(*result.curve, strict=True)
    axes.plot(thresholds, macro, color=PALETTE[0], label="one for all, at this threshold", gid="one")
    axes.axhline(result.each.macro_f1, color=PALETTE[1], label="one a label", gid="each")
    axes.axhline(result.all_told, color=MUTED, linestyle=":", label="every label told", gid="all told")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylim(bottom=0)
    axes.set_ylim(top=1.3 * max(result.each.macro_f1, *macro))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("threshold")
    axes.set_ylabel("macro F1")
    legend(axes, "upper right")
    return figure
