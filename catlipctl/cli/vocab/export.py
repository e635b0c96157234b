"""`catlipctl vocab export`: a vocabulary as text."""

from pathlib import Path
from typing import Annotated

import typer

from catlipctl.cli import inputs
from catlipctl.cli.options import Json, VocabularyArgument
from catlipctl.cli.output import command
from catlipctl.cli.vocab.target import refuse_taken

STDOUT = Path("-")


def export(
    vocabulary: VocabularyArgument = None,
    out_file: Annotated[
        Path, typer.Option("--out", help="The file to write; it may not exist. -: print it.")
    ] = STDOUT,
    json: Json = False,
) -> None:
    """Write a vocabulary as text: key, count and name of a class a line, tab-separated.

    vocab import reads it again.
    """
    with command("vocab export", json=json) as out:
        if out_file != STDOUT:
            refuse_taken(out_file)
        path = inputs.vocabulary(vocabulary, out)
        from catlipctl import files
        from catlipctl.vocabulary import load
        from catlipctl.vocabulary.listing import Listing, listing

        found = load(path)
        text = listing(found)
        if out_file != STDOUT:
            files.write_text(out_file, text)
            out.note(f"wrote {out_file}")
            out.result(Listing(size=len(found), path=str(out_file)))
            return
        out.result(Listing(size=len(found), text=text))
        if not json:  # as it is: the console would make spaces of the tabs
            print(text, end="", flush=True)
