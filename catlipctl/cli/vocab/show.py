"""`catlipctl vocab show`: what is in a vocabulary, at a glance."""

from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import inputs
from catlipctl.cli.options import Json, VocabularyArgument
from catlipctl.cli.output import command
from catlipctl.cli.tables import facts, table

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.vocabulary.summary import Summary


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
        out.result(result, *summary_tables(result))


def summary_tables(result: "Summary") -> "list[Table]":
    """A vocabulary in tables: facts, then its first and last classes."""
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
