"""Plots beside a result, where the extra `plot` is installed, of the kinds that `--plots` names."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from catlipctl.cli.output import Output
from catlipctl.errors import MachineError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from catlipctl.reports.save import Kind

Kinds = Literal["none", "png", "svg", "all"]
Plots = Annotated[
    Kinds,
    typer.Option(
        "--plots",
        help="Plots to write. Everything opens png; svg is sharp, and dark where the reader is.",
    ),
]
DEFAULT: Kinds = "png"
_KINDS: "dict[Kinds, tuple[Kind, ...]]" = {
    "none": (),
    "png": ("png",),
    "svg": ("svg",),
    "all": ("png", "svg"),
}


def endings(plots: Kinds) -> tuple[str, ...]:
    """What the names of the files end in."""
    return tuple(f".{kind}" for kind in _KINDS[plots])


def save(draw: "dict[Path, Callable[[], Figure]]", plots: Kinds, out: Output) -> list[Path]:
    """Write what each draws as STEM.png, STEM.svg; without matplotlib say so once and write nothing."""
    kinds, written = _KINDS[plots], list[Path]()
    if not kinds:
        return written
    from catlipctl import reports

    try:
        for stem, figure in draw.items():
            written += reports.save(figure(), stem, kinds)
    except MachineError as error:
        out.note(f"no plot: {error.message}; {error.hint}")
    return written
