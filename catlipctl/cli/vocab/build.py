"""`catlipctl vocab build`: count the labels of captions."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from catlipctl.cli import completion, inputs
from catlipctl.cli.options import CacheDir, CaptionKey, Extractor, ImageKey, Json, SourceWords, Strict
from catlipctl.cli.output import Output, command
from catlipctl.cli.plots import DEFAULT, Kinds, Plots, endings, save
from catlipctl.cli.vocab.show import summary_tables
from catlipctl.errors import UsageError
from catlipctl.files import refuse_taken

if TYPE_CHECKING:
    from catlipctl.vocabulary import Vocabulary
    from catlipctl.vocabulary.summary import Built


def build(
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="Where the captions are: tars, folders, Parquet, listings, hf:ORG/NAME, URLs. Repeats.",
            show_default=False,
            autocompletion=completion.sources,
        ),
    ] = None,
    words: SourceWords = None,
    threshold: Annotated[
        int | None,
        typer.Option(
            help="Keep labels that count more than this. Default: 500, or 0 with --max-size.",
            show_default=False,
        ),
    ] = None,
    max_size: Annotated[
        int | None,
        typer.Option(
            help="Keep at most this many, the most frequent. The released recipes use 24320.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        Literal["occurrences", "captions"] | None,
        typer.Option(
            help="What counts: occurrences, or captions (a caption that repeats a label counts once). "
            "Default: occurrences (CatLIP); captions for sub-words (SuperClass).",
            show_default=False,
        ),
    ] = None,
    extractor: Extractor = "corenet",
    out_file: Annotated[
        Path, typer.Option("--out", help="The file to write, a plot beside it; it may not exist.")
    ] = Path("vocabulary.json"),
    captions_from: Annotated[
        Literal["parquet"] | None,
        typer.Option(
            help="parquet: read NAME.parquet, which img2dataset leaves beside NAME.tar, instead of the tar.",
            show_default=False,
        ),
    ] = None,
    image_key: ImageKey = None,
    caption_key: CaptionKey = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Shards counted at once. Default: this machine's cores.", show_default=False
        ),
    ] = None,
    engine: Annotated[
        Literal["processes", "ray"],
        typer.Option(help="What runs the workers: processes here, or a Ray cluster (RAY_ADDRESS)."),
    ] = "processes",
    strict: Strict = False,
    cache_dir: CacheDir = None,
    plots: Plots = DEFAULT,
    json: Json = False,
) -> None:
    """Count the labels of all captions into a vocabulary; a stopped build goes on where it was."""
    with command("vocab build", json=json) as out:
        sources = inputs.sources(data, words)
        _check_target(out_file, plots)
        from catlipctl import labels, vocabulary
        from catlipctl.data.caption_shards import caption_shards
        from catlipctl.vocabulary.merging import AND
        from catlipctl.vocabulary.pruning import limits
        from catlipctl.vocabulary.summary import built

        limits(threshold, max_size)
        # Once, so that what it lacks is said now and not by a worker.
        labels.extractor(extractor)("a dog")
        shards = caption_shards(
            sources,
            image_key=image_key,
            caption_keys=caption_key or (),
            captions_from=captions_from,
            cache_dir=cache_dir,
            progress=out,
        )
        tally = vocabulary.count_shards(
            shards,
            extractor,
            workers=workers,
            engine=engine,
            strict=strict,
            cache_dir=cache_dir,
            progress=out,
        )
        made = vocabulary.pruned(
            tally.counts,
            extractor=extractor,
            source=AND.join(sorted(set(sources))),
            threshold=threshold,
            max_size=max_size,
            count=count,
        )
        made.save(out_file)
        result = built(made, tally)
        result.path = str(out_file)
        result.files = [str(file) for file in _plot(made, out_file, plots, out)]
        out.uses("sources", " ".join(sources))
        for file in (result.path, *result.files):
            out.note(f"wrote {file}")
        then = f"next: catlipctl pretrain RECIPE --data SOURCE --vocab {out_file}"
        out.result(result, *summary_tables(result), _pace(result), then)


def _check_target(path: Path, plots: Kinds) -> None:
    """See that the vocabulary and its plots can be written, before hours are spent on it."""
    drawn = [path.with_suffix(ending) for ending in endings(plots)]
    if path in drawn:
        raise UsageError(f"{path} is where a plot of the vocabulary goes", "choose a name such as v.json")
    refuse_taken(path, *drawn)
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        reason = "it may not be written to" if there.is_dir() else "it is a file"
        raise UsageError(
            f"{path} cannot be written into {there}: {reason}", "choose another place with --out"
        )


def _plot(made: "Vocabulary", path: Path, plots: Kinds, out: Output) -> list[Path]:
    from catlipctl import reports

    return save({path.with_suffix(""): lambda: reports.label_frequencies({path.name: made})}, plots, out)


def _pace(result: "Built") -> str:
    kept = f"{result.shards_kept:,} shards taken from the cache" if result.shards_kept else ""
    counted = ""
    if result.captions_per_second is not None:
        counted = (
            f"{result.shards_counted:,} shards counted in {result.seconds:,.1f} s, "
            f"{result.captions_per_second:,.0f} captions/s"
        )
    return "; ".join(filter(None, (counted, kept)))
