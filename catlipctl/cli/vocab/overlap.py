"""`catlipctl vocab overlap`: vocabularies against a target label set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from catlipctl import files
from catlipctl.cli import completion, inputs
from catlipctl.cli.label_sets import label_set
from catlipctl.cli.options import Json
from catlipctl.cli.output import Output, command
from catlipctl.cli.plots import DEFAULT, Kinds, Plots, save
from catlipctl.cli.tables import facts, table
from catlipctl.errors import UsageError
from catlipctl.files import refuse_taken

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from catlipctl.vocabulary.overlap import Coverage, Overlap, Overlaps

COSTS = """\
What the threshold costs: synsets left, recall, precision
recall     the share of classes whose synsets are all left in the vocabulary
precision  the share of the synsets left that are the target's\
"""


def overlap(
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="TARGET",
            help="Required: a built-in label set (imagenet, places365, ...), or a TSV file.",
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
            help="The folder to write: matches.csv, result.json and plots; it may not exist. "
            "Default: RUN/overlap-TARGET of the vocabulary's run, else ./overlap-TARGET, numbered.",
            show_default=False,
        ),
    ] = None,
    plots: Plots = DEFAULT,
    json: Json = False,
) -> None:
    """Compare vocabularies with a target label set, by WordNet path similarity (CatLIP Figures 2b and 2c)."""
    with command("vocab overlap", json=json) as out:
        from catlipctl.labels import targets

        words = vocabularies or []
        if target is None and words and _may_be_a_target(words[0]):
            target, *words = words  # the spelling before --target
        if target is None:
            raise UsageError(
                "no target is named", f"name one by --target: {', '.join(targets.BUILT_IN)}, or a TSV file"
            )
        if out_dir is not None:
            refuse_taken(out_dir)
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
        result.inputs = {"target": target, "vocabularies": " ".join(loaded)}
        stem = f"overlap-{target_set.name}" + ("-extracted" if senses == "extracted" else "")
        _write(result, out_dir or files.unused(_folder_of(paths) / stem), plots, out)
        for file in result.files:
            out.note(f"wrote {file}")
        out.result(result, *_tables(result))


def _may_be_a_target(word: str) -> bool:
    """Is it a built-in label set, or a file whose name does not end in .json?"""
    from catlipctl.labels import targets

    return word in targets.BUILT_IN or (Path(word).is_file() and not word.endswith(".json"))


def _folder_of(vocabularies: list[Path]) -> Path:
    """The run that all belong to, themselves or by one of its checkpoints; else the current folder."""
    folders = {path.parent for path in vocabularies}
    runs = {folder.parent.parent if folder.parent.name == "checkpoints" else folder for folder in folders}
    run = runs.pop()
    return run if not runs and (run / "checkpoints").is_dir() else Path()


def _write(result: "Overlaps", folder: Path, plots: Kinds, out: Output) -> None:
    from catlipctl import reports

    overlaps = {compared.vocabulary: compared for compared in result.overlaps}
    draw = {
        folder / "overlap": lambda: reports.overlap(overlaps),
        folder / "occurrences": lambda: reports.occurrences(overlaps),
        folder / "coverage": lambda: reports.coverage(overlaps),
    }
    result.files = [str(file) for file in save(draw, plots, out)]
    reports.save_overlap(result, folder)


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
