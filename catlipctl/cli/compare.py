"""`catlipctl compare`: evaluations of several models in one table and plot, with differences tested."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import completion
from catlipctl.cli.options import Json
from catlipctl.cli.output import Output, command
from catlipctl.cli.plots import DEFAULT, Kinds, Plots, endings, save
from catlipctl.cli.tables import table
from catlipctl.files import refuse_taken

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.reports.comparison import Cell, ComparedColumn, Comparison

STEM = "comparison"
LOSSES = "losses"


def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT|RUN...",
            help="result.json files of evaluations, folders that hold one, or runs: of these all evaluations "
            "under them, and their losses in one plot.",
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
    """
    with command("compare", json=json) as out:
        document = None if out_dir is None else out_dir / f"{STEM}.json"
        if out_dir is not None and document is not None:
            stems = [f"{stem}{ending}" for stem in (STEM, LOSSES) for ending in endings(plots)]
            refuse_taken(document, *(out_dir / name for name in stems))
        from catlipctl import files, reports
        from catlipctl.reports import comparison

        findings = reports.find(paths)
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
