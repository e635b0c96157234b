"""`catlipctl runs show`: the curves of runs, in the terminal and as a plot."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import completion
from catlipctl.cli.options import Json
from catlipctl.cli.output import Output, age, command
from catlipctl.cli.plots import DEFAULT, Kinds, Plots, endings, save
from catlipctl.cli.runs.list import summaries
from catlipctl.files import refuse_taken

if TYPE_CHECKING:
    from rich.console import RenderableType

    from catlipctl.reports.curves import Curves

STEM = "curves"
POINTS = 500
"""Of a curve, in JSON."""


def show(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN...",
            help="Runs, by path or by name under ./runs; several are drawn together. "
            "Default: the one there that was at work last.",
            show_default=False,
            autocompletion=completion.runs,
        ),
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the plot, curves.png.", show_default=False),
    ] = None,
    plots: Plots = DEFAULT,
    json: Json = False,
) -> None:
    """Show runs, also while they train: loss, learning rate, speed and validation over the samples seen."""
    with command("runs show", json=json) as out:
        if out_dir is not None:
            refuse_taken(*(out_dir / f"{STEM}{ending}" for ending in endings(plots)))
        from catlipctl.reports import runs as reported
        from catlipctl.reports.curves import read, thinned

        paths = list(dict.fromkeys(reported.named(runs or [])))
        found = [reported.summary(path) for path in paths]
        told = "" if runs else f"at work last, {age(found[0].age_seconds)}"
        out.uses("runs" if len(paths) > 1 else "run", " ".join(map(str, paths)), told)
        curves = {str(path): read(path) for path in paths}
        result = reported.Shown(
            runs=found,
            curves={
                run: {name: thinned(points, POINTS) for name, points in of_run.items()}
                for run, of_run in curves.items()
            },
            files=[] if out_dir is None else _write(curves, out_dir, plots, out),
        )
        peaks = [f"{run.path}: MFU of {run.peak}" for run in found if run.peak]
        empty = [f"{run} has logged no step yet." for run, of_run in curves.items() if not of_run]
        out.result(result, summaries(found), *_drawn(curves), *peaks, *empty)


def _write(curves: "Mapping[str, Curves]", folder: Path, plots: Kinds, out: Output) -> list[str]:
    from catlipctl import reports

    subtitle = next(iter(curves)) if len(curves) == 1 else ""
    files = save({folder / STEM: lambda: reports.curves(curves, subtitle=subtitle)}, plots, out)
    for file in files:
        out.note(f"wrote {file}")
    return [str(file) for file in files]


def _drawn(curves: "Mapping[str, Curves]") -> "list[RenderableType]":
    """A plot of each measure that any of the runs has."""
    from catlipctl.cli.runs.terminal import Line, Plot, legend
    from catlipctl.reports.curves import MEASURES, thinned
    from catlipctl.reports.style import short_names

    names = short_names(list(curves))
    shown: list[RenderableType] = []
    for measure in MEASURES:
        lines = [Line(names[run], thinned(found.get(measure, []), 1000)) for run, found in curves.items()]
        if any(line.points for line in lines):
            shown.append(Plot(measure, lines))
    if shown:
        shown.append("over samples seen")
    if len(curves) > 1:
        shown.append(legend(list(names.values())))
    return shown
