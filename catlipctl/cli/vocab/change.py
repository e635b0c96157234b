"""`catlipctl vocab prune`, `merge`, `import` and `export`: one vocabulary made from others."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from catlipctl.cli import completion, inputs
from catlipctl.cli.options import Json, VocabularyArgument
from catlipctl.cli.output import Output, command
from catlipctl.cli.vocab.show import summary_tables
from catlipctl.files import refuse_taken
from catlipctl.printable import printable

if TYPE_CHECKING:
    from catlipctl.vocabulary import Vocabulary

OutFile = Annotated[Path, typer.Option("--out", help="The file to write; it may not exist.")]
MaxSize = Annotated[
    int | None, typer.Option(help="Keep at most this many, the most frequent.", show_default=False)
]
STDOUT = Path("-")


def prune(
    out_file: OutFile,
    vocabulary: VocabularyArgument = None,
    threshold: Annotated[
        int | None, typer.Option(help="Keep labels that count more than this.", show_default=False)
    ] = None,
    max_size: MaxSize = None,
    json: Json = False,
) -> None:
    """Keep a vocabulary's more frequent labels: what `vocab build` would make with the higher threshold."""
    with command("vocab prune", json=json) as out:
        refuse_taken(out_file)
        path = inputs.vocabulary(vocabulary, out)
        from catlipctl.vocabulary import load
        from catlipctl.vocabulary import prune as cut

        _save(cut(load(path), threshold=threshold, max_size=max_size), out_file, out)


def merge(
    vocabularies: Annotated[
        list[Path],
        typer.Argument(
            metavar="VOCABULARY...",
            help="Each a vocabulary.json, a run or a checkpoint.",
            autocompletion=completion.vocabularies,
        ),
    ],
    out_file: OutFile,
    threshold: Annotated[
        int | None,
        typer.Option(
            help="Keep labels that count more than this in all together. Default: all.", show_default=False
        ),
    ] = None,
    max_size: MaxSize = None,
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

        parts = [(str(path), vocabulary.load(path)) for path in paths]
        merged = vocabulary.merge(parts, threshold=threshold, max_size=max_size, progress=out)
        _save(merged, out_file, out)


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A pickled dict of key to count, as CatLIP released it, or the text of vocab export.",
        ),
    ],
    out_file: OutFile,
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
        typer.Option(
            "--extractor", help="The extractor of the labels that it counts: corenet, nouns, subword, ..."
        ),
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
        from catlipctl.vocabulary.exchange import imported

        found = imported(file, extractor=extractor, counted=count, max_size=max_size)
        out.uses("file", str(file))
        _save(found, out_file, out)


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
        from catlipctl.vocabulary.exchange import Listing, listing

        found = load(path)
        text = listing(found)
        if out_file != STDOUT:
            files.write_text(out_file, text)
            out.note(f"wrote {out_file}")
            out.result(Listing(size=len(found), path=str(out_file)))
            return
        out.result(Listing(size=len(found), text=text))
        if not json:  # as it is: the console would make spaces of the tabs
            print(printable(text) if sys.stdout.isatty() else text, end="", flush=True)


def _save(made: "Vocabulary", path: Path, out: Output) -> None:
    """Write a vocabulary and show what is in it."""
    from catlipctl.vocabulary.summary import summary

    made.save(path)
    result = summary(made, top=5)
    result.path = str(path)
    out.note(f"wrote {path}")
    out.result(result, *summary_tables(result))
