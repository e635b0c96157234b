"""`catlipctl vocab merge`: vocabularies that were counted apart as one."""

from pathlib import Path
from typing import Annotated

import typer

from catlipctl.cli import inputs
from catlipctl.cli.options import Json
from catlipctl.cli.output import command
from catlipctl.cli.vocab.show import summary_tables
from catlipctl.cli.vocab.target import refuse_taken


def merge(
    vocabularies: Annotated[
        list[Path],
        typer.Argument(metavar="VOCABULARY...", help="Each a vocabulary.json, a run or a checkpoint."),
    ],
    out_file: Annotated[Path, typer.Option("--out", help="The file to write; it may not exist.")],
    threshold: Annotated[
        int | None,
        typer.Option(
            help="Keep labels that count more than this in all together. Default: all.", show_default=False
        ),
    ] = None,
    max_size: Annotated[
        int | None, typer.Option(help="Keep at most this many, the most frequent.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Add up the counts of vocabularies that were counted apart, alike.

    Exact where each was built with --threshold 0. A pruned one lacks rare labels: the merged file says how
    much its counts may be too low (undercount).
    """
    with command("vocab merge", json=json) as out:
        refuse_taken(out_file)
        paths = inputs.vocabularies(vocabularies, out)
        from catlipctl import vocabulary
        from catlipctl.vocabulary.summary import summary

        parts = [(str(path), vocabulary.load(path)) for path in paths]
        merged = vocabulary.merge(parts, threshold=threshold, max_size=max_size, progress=out)
        merged.save(out_file)
        result = summary(merged, top=5)
        result.path = str(out_file)
        out.note(f"wrote {out_file}")
        out.result(result, *summary_tables(result))
