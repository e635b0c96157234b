"""`catlipctl compare`: evaluations of several models, or two benchmarks, with differences tested."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import completion
from catlipctl.cli.options import Json
from catlipctl.cli.output import Output, command
from catlipctl.cli.plots import DEFAULT, Kinds, Plots, endings, save
from catlipctl.cli.tables import table
from catlipctl.errors import UsageError
from catlipctl.files import refuse_taken

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.reports.comparison import Cell, ComparedColumn, Comparison
    from catlipctl.reports.findings import Findings
    from catlipctl.reports.regressions import Regressions

STEM = "comparison"
LOSSES = "losses"


def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT|RUN...",
            help="result.json files of evaluations, folders that hold one, or runs: of these all evaluations "
            "under them, and their losses in one plot. Or two results of bench step, the earlier one first.",
            show_default=False,
            autocompletion=completion.vocabularies,
        ),
    ],
    baseline: Annotated[
        str | None,
        typer.Option(
            help="The model that the others are tested against, as the table names it. Default: the first.",
            show_default=False,
        ),
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder for comparison.png, losses.png and comparison.json.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides the resamples of the bootstrap.")] = 0,
    plots: Plots = DEFAULT,
    json: Json = False,
) -> None:
    """Compare models: one table of all their evaluations, and whether they differ.

    Protocols, test sets and train sizes never share a column. Seeds of one model are one figure. A difference
    is told where a 95 % bootstrap interval over test images and seeds leaves out zero.

    Of two benchmarks: what became slower, by objective and part.
    """
    with command("compare", json=json) as out:
        document = None if out_dir is None else out_dir / f"{STEM}.json"
        if out_dir is not None and document is not None:
            stems = [f"{stem}{ending}" for stem in (STEM, LOSSES) for ending in endings(plots)]
            refuse_taken(document, *(out_dir / name for name in stems))
        from catlipctl import files, reports
        from catlipctl.bench.step_result import StepBenchmark
        from catlipctl.reports import comparison

        findings = reports.find(paths)
        if findings.of(StepBenchmark) and not findings.runs:
            _benchmarks(findings, baseline, out_dir, seed, plots, out)
            return
        result = comparison.compare(findings, baseline, seed=seed)
        for fault in findings.faults:
            out.warn(fault)
        if out_dir is not None and document is not None:
            out_dir.mkdir(parents=True, exist_ok=True)
            result.files = [*_draw(result, out_dir, plots, out), str(document)]
            files.write_json(document, result.model_dump(mode="json"))
            out.note(f"wrote {', '.join(result.files)}")
        notes = [] if result.columns else ["no evaluation lies under these runs"]
        out.result(result, *(_table(column, result.baseline) for column in result.columns), *notes)


def _benchmarks(
    findings: "Findings", baseline: str | None, folder: Path | None, seed: int, plots: Kinds, out: Output
) -> None:
    from catlipctl import files
    from catlipctl.reports import regressions
    from catlipctl.reports.measured import Measured

    if findings.of(Measured) or baseline is not None:
        raise UsageError(
            "benchmarks are compared with each other alone, the earlier one first",
            "leave out --baseline, and compare evaluations apart",
        )
    result = regressions.regressions(findings, seed=seed)
    for fault in findings.faults:
        out.warn(fault)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        drawn = save({folder / STEM: lambda: regressions.changed(result)}, plots, out)
        document = folder / f"{STEM}.json"
        result.files = [*map(str, drawn), str(document)]
        files.write_json(document, result.model_dump(mode="json"))
        out.note(f"wrote {', '.join(result.files)}")
    notes = [f"measured by one alone: {name}" for name in result.only]
    notes += [f"not the same: {name}" for name in result.unlike]
    out.result(result, *_changes(result), *notes)


def _changes(result: "Regressions") -> "list[Table]":
    shown = {}
    numbers = ["before, ms", "after, ms", "ratio"]
    for change in result.changes:
        if change.case not in shown:
            headings = ("objective", "part", *numbers, "95 %", "")
            shown[change.case] = table(*headings, numbers=numbers, title=change.case)
        before, after = (f"{1000 * seconds:,.2f}" for seconds in (change.before, change.after))
        interval = f"{change.interval[0]:.3f} to {change.interval[1]:.3f}"
        cells = (change.name, change.part, before, after, f"{change.ratio:.3f}", interval, change.verdict)
        shown[change.case].add_row(*cells)
    return list(shown.values())


def _draw(result: "Comparison", folder: Path, plots: Kinds, out: Output) -> list[str]:
    from catlipctl.reports import comparison
    from catlipctl.reports.curves import curves, read

    draw = {}
    if result.columns:
        draw[folder / STEM] = lambda: comparison.comparison(result)
    if result.runs:
        found = {run: read(Path(run)) for run in result.runs}
        draw[folder / LOSSES] = lambda: curves(found, "Training loss", measures=("loss",))
    return [str(file) for file in save(draw, plots, out)]


def _table(column: "ComparedColumn", baseline: str) -> "Table":
    title = f"{column.protocol}\n{column.test}, {column.train_images:,} training images"
    against = f"against {baseline}"
    measure = column.measure
    shown = table("model", measure, "95 %", "seeds", against, "", numbers=[measure, "seeds"], title=title)
    for name, cell in column.cells.items():
        seeds = f"{len(cell.seeds)}"
        shown.add_row(name, f"{cell.figure:.1%}", _range(cell.interval), seeds, *_difference(cell))
    chance = next(iter(column.cells.values())).chance
    shown.add_row(column.rival, f"{chance:.1%}", "", "", "", "")
    return shown


def _difference(cell: "Cell") -> tuple[str, str]:
    if (found := cell.difference) is None:
        return "", ""
    if found.figure is None:
        return "not tested", found.verdict
    return f"{100 * found.figure:+.1f} points {_range(found.interval)}", found.verdict


def _range(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"
