"""What benchmarks have in common: where result and plot are kept, and the load that they met."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import plots
from catlipctl.cli.output import Output

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from catlipctl.bench.result import Benchmark

OutFolder = Annotated[
    Path, typer.Option("--out", help="Folder of the result's JSON and plot.", show_default="./bench")
]


def keep(
    result: "Benchmark", draw: "Callable[[], Figure]", stem: Path, kinds: plots.Kinds, out: Output
) -> None:
    """Write the result and its plot as STEM-N.json, .png and .svg under the first number that is free."""
    from catlipctl import files

    stem = files.unused(stem, (".json", ".png", ".svg"), numbered=True)
    plotted = plots.save({stem: draw}, kinds, out)
    document = stem.with_name(f"{stem.name}.json")
    result.files = [str(path) for path in (document, *plotted)]
    result.write(document)
    out.note("wrote " + ", ".join(result.files))


def load_line(load: tuple[float, float]) -> str:
    """The machine's load average, before and after."""
    return f"Load of the machine: {load[0]:.1f} before, {load[1]:.1f} after."
