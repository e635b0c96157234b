"""`catlipctl vocab`: count a vocabulary, look at one, compare it with a label set."""

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import inputs, plots
from catlipctl.cli.options import CacheDir, CaptionKey, Json, Strict
from catlipctl.cli.output import Output, command
from catlipctl.cli.tables import facts, table
from catlipctl.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.vocabulary.overlap import Overlap
    from catlipctl.vocabulary.summary import Summary

VocabularyArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="VOCABULARY",
        help="A vocabulary.json, a run or a checkpoint. Default: the newest run's under ./runs.",
        show_default=False,
    ),
]


def build(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="Where the captions are: tars, folders, Parquet, listings."),
    ],
    threshold: Annotated[
        int | None,
        typer.Option(
            help="Keep labels that occur more than this. Default: 500, or 0 with --max-size.",
            show_default=False,
        ),
    ] = None,
    max_size: Annotated[
        int | None, typer.Option(help="Keep at most this many, the most frequent.", show_default=False)
    ] = None,
    count: Annotated[
        str,
        typer.Option(
            help="What counts: occurrences, or captions (a caption that repeats a label counts once)."
        ),
    ] = "occurrences",
    extractor: Annotated[str, typer.Option(help="What makes labels of a caption.")] = "corenet",
    out_file: Annotated[Path, typer.Option("--out", help="The file to write; it may not exist.")] = Path(
        "vocabulary.json"
    ),
    caption_key: CaptionKey = None,
    cache_dir: CacheDir = None,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Count the labels of all captions into a vocabulary."""
    with command("vocab build", json=json) as out:
        if count not in ("occurrences", "captions"):
            raise UsageError(f"--count {count} is not known", "--count occurrences, or --count captions")
        if out_file.exists():
            raise UsageError(f"{out_file} exists and is never overwritten", "choose another name with --out")
        from catlipctl import data, vocabulary
        from catlipctl.vocabulary.summary import summary

        source = data.open_source(
            sources, caption_keys=tuple(caption_key or ()), strict=strict, cache_dir=cache_dir, progress=out
        )
        built = vocabulary.build(
            source,
            extractor=extractor,
            threshold=threshold,
            max_size=max_size,
            count="captions" if count == "captions" else "occurrences",
            progress=out,
        )
        built.save(out_file)
        out.uses("sources", " ".join(sources))
        result = summary(built, top=5)
        result.path = str(out_file)
        out.note(f"wrote {out_file}")
        out.result(result, *_summary_tables(result))


def show(
    vocabulary: VocabularyArgument = None,
    top: Annotated[int, typer.Option(min=0, help="How many of the first and last classes to show.")] = 20,
    json: Json = False,
) -> None:
    """Show a vocabulary: its first and last classes, coverage, and size at higher thresholds."""
    with command("vocab show", json=json) as out:
        path = inputs.vocabulary(vocabulary, out)
        from catlipctl.vocabulary import load
        from catlipctl.vocabulary.summary import summary

        result = summary(load(path), top)
        result.path = str(path)
        out.result(result, *_summary_tables(result))


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


def _summary_tables(result: "Summary") -> "list[Table]":
    unlabelled = result.captions_without_label
    share = unlabelled / max(result.captions, 1)
    about = facts(
        {
            "classes": _classes(result),
            "coverage": f"{result.coverage:.1%} of labels; {result.dropped_keys:,} rarer synsets dropped",
            "captions": f"{result.captions:,}, of which {unlabelled:,} ({share:.1%}) without a label",
            "source": result.source,
            "extractor": f"{result.extractor} {result.extractor_version}",
            "sizes": ", ".join(f"{at.size:,} above {at.threshold:,}" for at in result.sizes),
        }
    )
    classes = table("id", "key", "name", "count", numbers=("id", "count"))
    for row in result.top:
        classes.add_row(str(row.id), row.key, row.name, f"{row.count:,}")
    if result.tail and result.top and result.tail[0].id > result.top[-1].id + 1:
        classes.add_row("...", "", "", "")
    for row in result.tail:
        classes.add_row(str(row.id), row.key, row.name, f"{row.count:,}")
    return [about, classes] if result.top else [about]


def _classes(result: "Summary") -> str:
    above = f"{result.counted} > {result.threshold:,}"
    if result.size != result.max_size:
        return f"{result.size:,} ({above})"
    return f"{result.size:,} most frequent" + (f" ({above})" if result.threshold else "")


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
