"""`catlipctl report`: one page of runs, their evaluations, and results that are named."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import completion
from catlipctl.cli.options import Json
from catlipctl.cli.output import Output, age, command
from catlipctl.cli.tables import facts
from catlipctl.files import refuse_taken

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.reports import Report


def report(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN|RESULT...",
            help="Runs, with all evaluations under them; result files; folders of these. "
            "Default: the newest run under ./runs.",
            show_default=False,
            autocompletion=completion.vocabularies,
        ),
    ] = None,
    out_file: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The page to write; it may not exist. Default: report.html in the first run, else here; "
            "numbered.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Make one page of a run and its evaluations: curves, labels, overlap, confusion, how it was made.

    The page is one HTML file that needs no network. It is made from result files alone.
    """
    with command("report", json=json) as out:
        if out_file is not None:
            refuse_taken(out_file)
        from catlipctl import reports

        given = paths or [_newest(out)]
        result = reports.report(given, out_file)
        for fault in result.faults:
            out.warn(fault)
        out.note(f"wrote {result.path}")
        out.result(result, _table(result))


def _newest(out: Output) -> Path:
    from catlipctl import checkpoints

    run = checkpoints.newest_run()
    out.uses("run", str(run.path), f"newest run, {age(run.age_seconds)}")
    return run.path


def _table(result: "Report") -> "Table":
    return facts(
        {
            "page": result.path,
            "runs": ", ".join(result.runs),
            "results": f"{len(result.results):,}",
            "sections": ", ".join(result.sections),
        }
    )
