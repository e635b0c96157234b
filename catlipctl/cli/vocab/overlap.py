"""`catlipctl vocab overlap`: vocabularies against a target label set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from catlipctl import files
from catlipctl.cli import completion, inputs, plots
from catlipctl.cli.label_sets import label_set
from catlipctl.cli.options import Json
from catlipctl.cli.output import Output, command
from catlipctl.cli.tables import facts, table
from catlipctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure
    from rich.console import RenderableType
    from rich.table import Table

    from catlipctl.vocabulary import Vocabulary
    from catlipctl.vocabulary.overlap import Coverage, Overlap, Overlaps

FIGURES = ("", "-occurrences", "-coverage", "-frequencies", "-sizes")
"""What follows the stem in the names of the figures: 2b, 2c, what the threshold costs, 3a, 3b."""
COSTS = """\
What the threshold costs: synsets left, recall, precision
recall     the share of classes whose synsets are all left in the vocabulary
precision  the share of the synsets left that are the target's\
"""
ENDINGS = (".csv", *(f"{figure}.{kind}" for figure in FIGURES for kind in ("png", "svg")))


def overlap(
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="TARGET",
            help="A built-in label set (imagenet, places365, ...) or a TSV file.  [required]",
            show_default=False,
            autocompletion=completion.targets,
        ),
    ] = None,
    vocabularies: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VOCABULARY...",
            help="One or several: a vocabulary.json, a run or a checkpoint. "
            "Default: the newest run's under ./runs.",
            show_default=False,
            autocompletion=completion.vocabularies,
        ),
    ] = None,
    senses: Annotated[
        Literal["wnid", "extracted"],
        typer.Option(
            help="What a class means: wnid, the label set's own synsets; or extracted, what the vocabulary's "
            "extractor finds in the class's name (the paper's way)."
        ),
    ] = "wnid",
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for plots and matches; names that are taken are numbered. "
            "Default: the vocabulary's run, or the current folder if it is of none.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Compare vocabularies with a target label set, by WordNet path similarity (CatLIP Figures 2 and 3)."""
    with command("vocab overlap", json=json) as out:
        from catlipctl.labels import targets

        words = vocabularies or []
        if target is None:  # the spelling before --target: its word came first
            target, words = words[0] if words else None, words[1:]
        if target is None:
            raise UsageError(
                "no target is named", f"name one by --target: {', '.join(targets.BUILT_IN)}, or a TSV file"
            )
        target_set = label_set(target, out)
        paths = inputs.vocabularies([Path(word) for word in words], out)
        from catlipctl.vocabulary import load
        from catlipctl.vocabulary.overlap import Overlaps
        from catlipctl.vocabulary.overlap import overlap as compare

        loaded = {str(path): load(path) for path in paths}
        result = Overlaps(
            target=target_set.name,
            senses=senses,
            overlaps=[
                compare(vocabulary, target_set, senses=senses, name=name)
                for name, vocabulary in loaded.items()
            ],
        )
        out.uses("target", target)
        stem = f"overlap-{target_set.name}" + ("-extracted" if senses == "extracted" else "")
        free = files.unused((out_dir or _folder_of(paths)) / stem, ENDINGS)
        written = _write(result, loaded, free, out)
        result.files = [str(file) for file in written]
        for file in result.files:
            out.note(f"wrote {file}")
        out.result(result, *_tables(result))


def _folder_of(vocabularies: list[Path]) -> Path:
    """The run that all belong to, themselves or by one of its checkpoints; else the current folder."""
    folders = {path.parent for path in vocabularies}
    runs = {folder.parent.parent if folder.parent.name == "checkpoints" else folder for folder in folders}
    run = runs.pop()
    return run if not runs and (run / "checkpoints").is_dir() else Path()


def _write(result: "Overlaps", vocabularies: "dict[str, Vocabulary]", stem: Path, out: Output) -> list[Path]:
    from catlipctl import reports

    rows = [
        {"vocabulary": compared.vocabulary, **match.row()}
        for compared in result.overlaps
        for match in compared.matches
    ]
    written = [reports.save_table(stem.with_name(f"{stem.name}.csv"), rows)]
    overlaps = {compared.vocabulary: compared for compared in result.overlaps}
    draw: tuple[Callable[[], Figure], ...] = (
        lambda: reports.overlap(overlaps),
        lambda: reports.occurrences(overlaps),
        lambda: reports.coverage(overlaps),
        lambda: reports.label_frequencies(vocabularies),
        lambda: reports.sizes_by_threshold(vocabularies),
    )
    for name, figure in zip(FIGURES, draw, strict=True):
        drawn = plots.save(figure, stem.with_name(f"{stem.name}{name}"), out)
        if not drawn:  # without matplotlib, saying so once is enough
            break
        written += drawn
    return written


def _tables(result: "Overlaps") -> "list[RenderableType]":
    from catlipctl.reports.style import short_names

    names = short_names([compared.vocabulary for compared in result.overlaps])
    return [
        _about(result, names),
        _similarities(result.overlaps, names),
        COSTS,
        _costs(result.overlaps, names),
    ]


def _about(result: "Overlaps", names: dict[str, str]) -> "Table":
    first = result.overlaps[0]
    senses = "its own synsets" if result.senses == "wnid" else "synsets extracted from the names"
    lines = {"target": f"{result.target}, {first.classes:,} classes by {senses}"}
    for compared in result.overlaps:
        reach = compared.ceiling
        reachable = f", of {reach[0].classes:,} that {compared.extractor} can reach" if reach else ""
        lines[names[compared.vocabulary]] = (
            f"{compared.vocabulary_size:,} synsets; {compared.exact:,} classes exact{reachable}; "
            f"{compared.unmapped:,} classes without a synset; {compared.distinct:,} different matches; "
            f"{_counted(compared)}"
        )
    return facts(lines)


def _counted(compared: "Overlap") -> str:
    from statistics import median_low

    found = compared.occurrences
    middle = f", counted {median_low(found.values()):,} times in the median" if found else ""
    return f"{len(found):,} of {compared.target_synsets:,} target synsets{middle}"


def _similarities(overlaps: "list[Overlap]", names: dict[str, str]) -> "Table":
    ceilings = {
        f"what {compared.extractor} can reach": compared.ceiling for compared in overlaps if compared.ceiling
    }
    columns = {names[compared.vocabulary]: compared.steps for compared in overlaps} | ceilings
    made = table("similarity", *columns, numbers=("similarity", *columns))
    for steps in zip(*columns.values(), strict=True):
        cells = [f"{step.classes:,} ({step.share:.1%})" for step in steps]
        made.add_row(f">= {steps[0].at_least}", *cells)
    return made


def _costs(overlaps: "list[Overlap]", names: dict[str, str]) -> "Table":
    """Recall and precision of each vocabulary, pruned at each threshold of which it can speak."""
    single = len(overlaps) == 1
    columns = ["synsets", "recall", "precision"] if single else [names[c.vocabulary] for c in overlaps]
    made = table("threshold", *columns, numbers=("threshold", *columns))
    rows = [{row.threshold: row for row in compared.coverage} for compared in overlaps]
    for threshold in sorted(set().union(*rows)):
        found = [_cells(row[threshold]) if threshold in row else [] for row in rows]
        made.add_row(f"{threshold:,}", *(found[0] if single else map("  ".join, found)))
    return made


def _cells(row: "Coverage") -> list[str]:
    return [f"{row.size:,}", f"{row.recall:6.1%}", f"{row.precision:6.1%}"]
