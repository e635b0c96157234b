"""`catlipctl vocab prune`: a vocabulary cut down to its more frequent labels."""

from pathlib import Path
from typing import Annotated

import typer

from catlipctl.cli import inputs
from catlipctl.cli.options import Json, VocabularyArgument
from catlipctl.cli.output import command
from catlipctl.cli.vocab.show import summary_tables
from catlipctl.cli.vocab.target import refuse_taken


def prune(
    out_file: Annotated[Path, typer.Option("--out", help="The file to write; it may not exist.")],
    vocabulary: VocabularyArgument = None,
    threshold: Annotated[
        int | None, typer.Option(help="Keep labels that count more than this.", show_default=False)
    ] = None,
    max_size: Annotated[
        int | None, typer.Option(help="Keep at most this many, the most frequent.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Keep a vocabulary's more frequent labels: what `vocab build` would make with the higher threshold."""
    with command("vocab prune", json=json) as out:
        refuse_taken(out_file)
        path = inputs.vocabulary(vocabulary, out)
        from catlipctl.vocabulary import load
        from catlipctl.vocabulary import prune as cut
        from catlipctl.vocabulary.summary import summary

        pruned = cut(load(path), threshold=threshold, max_size=max_size)
        pruned.save(out_file)
        result = summary(pruned, top=5)
        result.path = str(out_file)
        out.note(f"wrote {out_file}")
        out.result(result, *summary_tables(result))
