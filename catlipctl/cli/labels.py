"""`catlipctl labels`: what captions yield, word by word; what the labels of a set mean."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import completion
from catlipctl.cli.label_sets import meanings_table, warn_of_missed
from catlipctl.cli.options import Extractor, Json
from catlipctl.cli.output import Output, command
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
    context: typer.Context,
    captions: Annotated[
        list[str] | None,
        typer.Argument(metavar="CAPTION...", help="Captions, or -: read one a line from stdin."),
    ] = None,
    extractor: Extractor = "corenet",
    json: Json = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="One JSON object a caption on stdout, as captions arrive.")
    ] = False,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            autocompletion=completion.targets,
            help="A label set instead of captions: what its labels mean. A file may give names alone.",
            show_default=False,
        ),
    ] = None,
    out_file: Annotated[
        Path | None,
        typer.Option(
            "--out", help="With --target: write the label set to this TSV, to edit it.", show_default=False
        ),
    ] = None,
) -> None:
    """Show what captions yield, or what a label set means.

    Of a caption, word by word: token, lemma, synset, and why it is kept or not. Of a label: its synsets.
    """
    with command("labels", json=json) as out:
        if (target is None) == (not captions):
            raise UsageError(
                "give captions, or a label set",
                "catlipctl labels CAPTION..., or catlipctl labels --target TARGET",
            )
        if target is not None:
            for name in ("jsonl", "extractor"):
                if _is_given(context, name):
                    raise UsageError(
                        f"--{name} is for captions, and --target names a label set", f"leave out --{name}"
                    )
            _meanings(target, out_file, out)
            return
        if out_file is not None:
            raise UsageError(
                "--out writes a label set, and no --target names one",
                "for labels of captions: catlipctl labels CAPTION... --jsonl > FILE",
            )
        if json and jsonl:
            raise UsageError(
                "--json and --jsonl exclude each other", "--json for one document, --jsonl for a stream"
            )
        from catlipctl.labels import Labels, labelled
        from catlipctl.labels import extractor as extractor_named

        chosen = extractor_named(extractor)
        version = chosen.version
        found = (labelled(caption, chosen) for caption in _captions(captions or []))
        if jsonl:
            for caption in found:
                print(printable_json(caption.model_dump_json()), flush=True)
            return
        result = Labels(extractor=extractor, extractor_version=version, captions=list(found))
        out.result(result, *map(_table, result.captions))


def _is_given(context: typer.Context, name: str) -> bool:
    """Does the option stand on the command line, whatever its value?"""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _meanings(target: str, file: Path | None, out: Output) -> None:
    from catlipctl import files
    from catlipctl.labels import targets

    if file is not None:
        files.refuse_taken(file)
    found = targets.load(target)
    warn_of_missed(found, out)
    result = targets.Meanings(
        target=found.name, multi_label=found.multi_label, labels=targets.meanings(found)
    )
    written = []
    if file is not None:
        files.write_text(file, targets.tsv(found))
        result.file = str(file)
        written = [f"wrote {file}: edit it, then use it as --target {file}"]
    out.result(result, meanings_table(result.labels), *written)


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
