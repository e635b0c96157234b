"""The figure of a sweep: probe accuracy against what was swept (CatLIP, Figure 6)."""

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from catlipctl.reports.style import colours, legend, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Probed(Protocol):
    """A probe of a point."""

    @property
    def data(self) -> str: ...
    @property
    def acc1(self) -> float: ...
    @property
    def zero_shot_acc1(self) -> float | None: ...


class SweptPoint(Protocol):
    """One run of the sweep."""

    @property
    def changes(self) -> Mapping[str, str]: ...
    @property
    def probes(self) -> Sequence[Probed]: ...


class Sweep(Protocol):
    """What the figure takes of `SweepResult`."""

    @property
    def keys(self) -> Sequence[str]: ...
    @property
    def rows(self) -> Sequence[SweptPoint]: ...


def sweep(result: Sweep) -> "Figure":
    """A panel for each set of labelled images, the values in the order in which they were named.

    A dot is a run, and the line their mean over the seeds; zero-shot is dashed.

    Raises MachineError where matplotlib is not installed.
    """
    labels = list(dict.fromkeys(_label(row) for row in result.rows))
    names = list(dict.fromkeys(probe.data for row in result.rows for probe in row.probes))
    figure, axes = panels("What was swept", ", ".join(result.keys), [2.6] * max(1, len(names)))
    colour = colours(["linear probe", "zero-shot"])
    for place, data in zip(axes, names, strict=False):
        for kind, dashes in (("linear probe", "-"), ("zero-shot", "--")):
            dots = [
                (labels.index(_label(row)), value)
                for row in result.rows
                for probe in row.probes
                if probe.data == data
                and (value := probe.acc1 if kind == "linear probe" else probe.zero_shot_acc1) is not None
            ]
            if not dots:
                continue
            x = sorted({at for at, _ in dots})
            means = [statistics.fmean(value for at, value in dots if at == one) for one in x]
            place.plot(*zip(*dots, strict=True), "o", color=colour[kind], markersize=4, gid=f"{kind} {data}")
            place.plot(x, means, dashes, color=colour[kind], label=kind)
        place.set_xticks(range(len(labels)), labels)
        place.set_ylabel("top-1 accuracy")
        place.set_title(data, fontsize=9, loc="right")
        place.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        place.margins(x=0.08, y=0.25)
        legend(place, "upper right")
    axes[-1].set_xlabel(", ".join(result.keys))
    return figure


def _label(row: SweptPoint) -> str:
    return "\n".join(row.changes.values())
