"""Plots beside a result, where the extra `plot` is installed."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from catlipctl.cli.output import Output
from catlipctl.errors import MachineError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save(draw: "Callable[[], Figure]", stem: Path, out: Output) -> list[Path]:
    """Write what `draw` draws as STEM.png and STEM.svg; without matplotlib say so and write nothing."""
    from catlipctl import reports

    try:
        return reports.save(draw(), stem)
    except MachineError as error:
        out.note(f"no plot: {error.message}; {error.hint}")
        return []
