"""`catlipctl vocab import`: a vocabulary that others made."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from catlipctl.cli.options import Json
from catlipctl.cli.output import command
from catlipctl.cli.vocab.show import summary_tables
from catlipctl.cli.vocab.target import refuse_taken


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A pickled dict of key to count, as CatLIP released it, or the text of vocab export.",
        ),
    ],
    out_file: Annotated[Path, typer.Option("--out", help="The file to write; it may not exist.")],
    max_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Keep at most this many, the first. The released recipes use 24320.",
            show_default=False,
        ),
    ] = None,
    extractor: Annotated[
        str,
        typer.Option("--extractor", help="What made the labels that it counts: corenet, nouns or subword."),
    ] = "corenet",
    count: Annotated[
        Literal["occurrences", "captions"],
        typer.Option(help="What it counts; CatLIP's code does not say, its paper counts occurrences."),
    ] = "occurrences",
    json: Json = False,
) -> None:
    """Read a vocabulary that others made; its class ids stay.

    A pickle is not run: it may hold one dict of texts and whole numbers, and nothing else.
    """
    with command("vocab import", json=json) as out:
        refuse_taken(out_file)
        from catlipctl.vocabulary.importing import imported
        from catlipctl.vocabulary.summary import summary

        found = imported(file, extractor=extractor, counted=count, max_size=max_size)
        found.save(out_file)
        out.uses("file", str(file))
        result = summary(found, top=5)
        result.path = str(out_file)
        out.note(f"wrote {out_file}")
        out.result(result, *summary_tables(result))
