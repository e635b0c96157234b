"""`catlipctl vocab show`: what is in a vocabulary, in the tables with which other commands end too."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import inputs
from catlipctl.cli.options import Json, VocabularyArgument
from catlipctl.cli.output import Output, command
from catlipctl.cli.plots import DEFAULT, Kinds, Plots, endings, save
from catlipctl.cli.tables import facts, table
from catlipctl.files import refuse_taken

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.vocabulary import Vocabulary
    from catlipctl.vocabulary.summary import Summary

FREQUENCIES = "label-frequencies"
SIZES = "sizes-by-threshold"


def show(
    vocabulary: VocabularyArgument = None,
    top: Annotated[int, typer.Option(min=0, help="How many of the first and last classes to show.")] = 20,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for plots: the long tail, and sizes by threshold (CatLIP Figures 3a, 3b).",
            show_default=False,
        ),
    ] = None,
    plots: Plots = DEFAULT,
    json: Json = False,
) -> None:
    """Show a vocabulary: its first and last classes, and what is left of it at each threshold."""
    with command("vocab show", json=json) as out:
        if out_dir is not None:
            names = (f"{stem}{ending}" for stem in (FREQUENCIES, SIZES) for ending in endings(plots))
            refuse_taken(*(out_dir / name for name in names))
        path = inputs.vocabulary(vocabulary, out)
        from catlipctl.vocabulary import load
        from catlipctl.vocabulary.summary import summary

        found = load(path)
        result = summary(found, top)
        result.path = str(path)
        if out_dir is not None:
            result.files = [str(file) for file in _write_plots(found, str(path), out_dir, plots, out)]
        out.result(result, *summary_tables(result))


def _write_plots(vocabulary: "Vocabulary", name: str, folder: Path, plots: Kinds, out: Output) -> list[Path]:
    from catlipctl import reports

    shown = {name: vocabulary}
    draw = {
        folder / FREQUENCIES: lambda: reports.label_frequencies(shown),
        folder / SIZES: lambda: reports.sizes_by_threshold(shown),
    }
    files = save(draw, plots, out)
    for file in files:
        out.note(f"wrote {file}")
    return files


def summary_tables(result: "Summary") -> "list[Table]":
    """A vocabulary in tables: facts, what is left of it at each threshold, its first and last classes."""
    about = facts(
        {
            "classes": _classes(result),
            "coverage": _coverage(result),
            "captions": _captions(result),
            "faults": ", ".join(f"{kind}: {number:,}" for kind, number in result.faults.items()),
            "source": result.source,
            "extractor": f"{result.extractor} {result.extractor_version}",
        }
    )
    columns = ["threshold", "classes"] + ["of labels"] * (result.coverage is not None)
    sizes = table(*columns, numbers=columns)
    for at in result.sizes:
        share = [] if at.share is None else [f"{at.share:.1%}"]
        sizes.add_row(f"> {at.threshold:,}", f"{at.size:,}", *share)
    classes = table("id", "key", "name", "count", numbers=("id", "count"))
    for row in result.top:
        classes.add_row(str(row.id), row.key, row.name, f"{row.count:,}")
    if result.tail and result.top and result.tail[0].id > result.top[-1].id + 1:
        classes.add_row("...", "", "", "")
    for row in result.tail:
        classes.add_row(str(row.id), row.key, row.name, f"{row.count:,}")
    return [about, sizes, classes] if result.top else [about, sizes]


def _classes(result: "Summary") -> str:
    above = f"{result.counted} > {result.threshold:,}"
    low = f"; counts may be low by up to {result.undercount:,}" if result.undercount else ""
    if result.size != result.max_size:
        return f"{result.size:,} ({above}){low}"
    return f"{result.size:,} most frequent" + (f" ({above})" if result.threshold else "") + low


def _coverage(result: "Summary") -> str:
    if result.coverage is None:
        return "unknown: what was dropped is not recorded"
    dropped = "" if result.dropped_keys is None else f"; {result.dropped_keys:,} rarer keys dropped"
    return f"{result.coverage:.1%} of labels{dropped}"


def _captions(result: "Summary") -> str:
    unlabelled = result.captions_without_label
    if result.captions is None:
        return "unknown"
    if unlabelled is None:
        return f"{result.captions:,}"
    share = unlabelled / max(result.captions, 1)
    return f"{result.captions:,}, of which {unlabelled:,} ({share:.1%}) without a label"
