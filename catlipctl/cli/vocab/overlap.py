"""`catlipctl vocab overlap`: a vocabulary against a target label set."""

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import inputs, plots
from catlipctl.cli.options import Json, VocabularyArgument
from catlipctl.cli.output import Output, command
from catlipctl.cli.tables import facts, table

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.vocabulary.overlap import Overlap


def overlap(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="A built-in label set (imagenet, places365, ...) or a TSV file."
        ),
    ],
    vocabulary: VocabularyArgument = None,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for plot and matches; names that are taken are numbered. "
            "Default: the vocabulary's run, or the current folder if it is of none.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Compare a vocabulary with a target label set, by WordNet path similarity (CatLIP Figure 2b)."""
    with command("vocab overlap", json=json) as out:
        from catlipctl.labels import targets

        label_set = targets.load(target)
        path = inputs.vocabulary(vocabulary, out)
        from catlipctl.vocabulary import load
        from catlipctl.vocabulary.overlap import overlap as compare

        result = compare(load(path), label_set)
        out.uses("target", target)
        stem = _unused((out_dir or _run_of(path)) / f"overlap-{label_set.name}")
        result.files = [str(file) for file in _write_overlap(result, stem, str(path), out)]
        for file in result.files:
            out.note(f"wrote {file}")
        out.result(result, *_overlap_tables(result))


def _run_of(vocabulary: Path) -> Path:
    """The run that the file belongs to, itself or by one of its checkpoints; else the current folder."""
    folder = vocabulary.parent
    run = folder.parent.parent if folder.parent.name == "checkpoints" else folder
    return run if (run / "checkpoints").is_dir() else Path()


def _unused(stem: Path) -> Path:
    """`stem`, or the first of `stem-2`, `stem-3`, ... of which no file exists."""
    numbered = (stem.with_name(f"{stem.name}-{number}") for number in itertools.count(2))
    kinds = (".csv", ".png", ".svg")
    return next(
        free
        for free in itertools.chain([stem], numbered)
        if not any(free.with_name(free.name + kind).exists() for kind in kinds)
    )


def _write_overlap(result: "Overlap", stem: Path, vocabulary: str, out: Output) -> list[Path]:
    from catlipctl import reports

    rows = [match.row() for match in result.matches]
    matches = reports.save_table(stem.with_name(f"{stem.name}.csv"), rows)
    return [matches, *plots.save(lambda: reports.overlap({vocabulary: result}), stem, out)]


def _overlap_tables(result: "Overlap") -> "list[Table]":
    about = facts(
        {
            "target": f"{result.target}, {result.classes:,} classes, {result.unmapped:,} without a synset",
            "vocabulary": f"{result.vocabulary_size:,} classes",
            "exact": f"{result.exact:,} of the {result.reachable:,} that captions could give",
            "distinct": f"{result.distinct:,} different matches",
        }
    )
    counts = table("similarity", "classes", "share", numbers=("similarity", "classes", "share"))
    for step in result.steps:
        counts.add_row(f">= {step.at_least}", f"{step.classes:,}", f"{step.share:.1%}")
    return [about, counts]
