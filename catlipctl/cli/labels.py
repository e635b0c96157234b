"""`catlipctl labels`: what captions yield, word by word."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli.options import Extractor, Json
from catlipctl.cli.output import command
from catlipctl.cli.tables import table
from catlipctl.errors import UsageError
from catlipctl.printable import printable_json

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.labels import LabelledCaption


SHOWN_WORDS = 1_000
SHOWN_CHARACTERS = 1_000
"""Of a caption, or a word, in a table: web captions of a megabyte would keep the terminal for minutes."""


def labels(
    captions: Annotated[
        list[str], typer.Argument(metavar="CAPTION...", help="Captions, or - for one a line from stdin.")
    ],
    extractor: Extractor = "corenet",
    json: Json = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="One JSON object a caption on stdout, as captions arrive.")
    ] = False,
) -> None:
    """Show what a caption yields, word by word.

    Token, lemma, synset, and why it is kept or not.
    """
    with command("labels", json=json) as out:
        if json and jsonl:
            raise UsageError(
                "--json and --jsonl exclude each other", "--json for one document, --jsonl for a stream"
            )
        from catlipctl.labels import Labels, labelled
        from catlipctl.labels import extractor as extractor_named

        chosen = extractor_named(extractor)
        version = chosen.version
        found = (labelled(caption, chosen) for caption in _captions(captions))
        if jsonl:
            for caption in found:
                print(printable_json(caption.model_dump_json()), flush=True)
            return
        result = Labels(extractor=extractor, extractor_version=version, captions=list(found))
        out.result(result, *map(_table, result.captions))


def _captions(arguments: list[str]) -> Iterator[str]:
    """The captions as valid text, whatever bytes they came as."""
    if arguments == ["-"]:
        for line in sys.stdin.buffer:
            yield line.rstrip(b"\r\n").decode("utf-8", "replace")
    else:
        for argument in arguments:
            yield argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _table(caption: "LabelledCaption") -> "Table":
    labels = f"{len(caption.labels)} label{'' if len(caption.labels) == 1 else 's'}"
    title = f"{_cut(caption.caption)}  ({labels})"
    left = len(caption.words) - SHOWN_WORDS
    shown = table("token", "lemma", "synset", "key", "", title=title)
    for word in caption.words[:SHOWN_WORDS]:
        cells = (word.token, word.lemma, word.synset or "", word.key or "", word.why)
        shown.add_row(*map(_cut, cells), style="" if word.kept else "dim")
    if left > 0:
        shown.add_row("...", "", "", "", f"{left:,} more: --json and --jsonl have them")
    return shown


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
