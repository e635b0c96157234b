"""`catlipctl runs [FOLDER]`: the runs under a folder, and how each fares."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import completion
from catlipctl.cli.options import Json
from catlipctl.cli.output import age, command
from catlipctl.cli.tables import table
from catlipctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from catlipctl.reports.runs import RunSummary


def list_(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER",
            help="Where the runs lie, or a run. Default: ./runs.",
            show_default=False,
            autocompletion=completion.runs,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List the runs under a folder: state, step, loss, speed and age."""
    with command("runs", json=json) as out:
        from catlipctl.reports.runs import ROOT, runs

        if folder is not None and not folder.is_dir():
            raise UsageError(f"no folder at {folder}", "catlipctl runs --help shows what else there is")
        result = runs(folder or ROOT)
        if not result.runs:
            out.result(result, f"no run under {result.folder}/; start one: catlipctl pretrain")
            return
        failed = [run for run in result.runs if run.state == "failed"]
        out.result(result, summaries(result.runs), *(f"{run.path}: {run.message}" for run in failed))


def summaries(found: "Sequence[RunSummary]") -> "Table":
    """A run a row."""
    shown = table("run", "state", "step", "loss", "images/s", "at work", numbers=["step", "loss", "images/s"])
    for run in found:
        steps = f" of {run.steps:,}" if run.steps is not None else ""
        shown.add_row(
            run.path,
            run.state if run.state != "failed" else f"failed, exit {run.exit_code}",
            f"{run.step:,}{steps}",
            "–" if run.loss is None else f"{run.loss:.4g}",
            "–" if run.images_per_second is None else f"{run.images_per_second:,.0f}",
            age(run.age_seconds),
        )
    return shown
