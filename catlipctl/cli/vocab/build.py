"""`catlipctl vocab build`: count the labels of captions."""

from pathlib import Path
from typing import Annotated

import typer

from catlipctl.cli.options import CacheDir, CaptionKey, Json, Strict
from catlipctl.cli.output import command
from catlipctl.cli.vocab.show import summary_tables
from catlipctl.errors import UsageError


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
        out.result(result, *summary_tables(result))
