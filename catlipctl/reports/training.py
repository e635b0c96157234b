"""The figure of a run that trains."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from catlipctl.reports.style import MUTED, PALETTE, canvas, numbered, outlined

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def loss(
    metrics: Sequence[Mapping[str, Any]], subtitle: str = "", title: str = "Pre-training loss"
) -> "Figure":
    """The loss over the samples seen, with the learning rate's shape as a thin line behind it.

    metrics: the objects of a metrics.jsonl; those without a finite `loss` and `samples` (other events) are
    passed over.
    """
    rows = [row for row in metrics if _finite(row.get("loss")) and _finite(row.get("samples"))]
    figure, axes = canvas(title, subtitle)
    samples = [row["samples"] for row in rows]
    losses = [row["loss"] for row in rows]
    axes.plot(samples, losses, color=PALETTE[0], gid="loss")
    axes.set_xlabel("samples seen")
    axes.set_ylabel("loss")
    numbered(axes.xaxis)
    axes.margins(x=0.02, y=0.1)
    if rows:
        outlined(axes, f"{losses[-1]:.4g}", (samples[-1], losses[-1]), (0, 9), ha="right", fontweight="bold")
    rates = [(row["samples"], row["lr"]) for row in rows if _finite(row.get("lr"))]
    if rates:
        behind = axes.twinx()
        behind.plot(*zip(*rates, strict=True), color=MUTED, linewidth=0.9, alpha=0.55, gid="lr")
        axes.set_zorder(behind.get_zorder() + 1)
        axes.patch.set_visible(False)
        behind.set_axis_off()
        behind.set_ylim(0, max(rate for _, rate in rates) * 1.15 or 1)
        at, peak = max(rates, key=lambda rate: rate[1])
        behind.annotate(
            f"learning rate, peak {peak:.2g}",
            (at, peak),
            (4, 4),
            textcoords="offset points",
            color=MUTED,
            fontsize=8.5,
        )
    return figure


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
