"""Label sets on the command line: what their labels mean is shown before anything is made of it."""

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from catlipctl.cli.output import Output
from catlipctl.cli.tables import table

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.labels.targets import LabelSet
    from catlipctl.labels.targets.senses import Meaning

SHOWN_ABOVE = 3
SHOWN_OTHERS = 4
SHOWN_NAMES = 5


def label_set(
    name: str,
    out: Output,
    *,
    multi_label: bool | None = None,
    mapping: Literal["heads", "paper"] = "heads",
) -> "LabelSet":
    """The label set of that name or file, its names read as the mapping does; senses that were guessed of it
    are shown on stderr.
    """
    from catlipctl.labels import targets

    found = targets.read_by(mapping, targets.load(name, multi_label=multi_label))
    if mapping == "paper":
        _tell_of_unread(found, out)
    elif found.guessed:
        out.note(f"{name}: the synsets of {len(found.guessed):,} of {len(found):,} labels are guessed")
        out.note_table(meanings_table(targets.meanings(replace(found, labels=found.guessed))))
        warn_of_missed(found, out)
        out.note(f"to edit them: catlipctl labels --target {name} --out FILE.tsv, then --target FILE.tsv")
    return found


def _tell_of_unread(found: "LabelSet", out: Output) -> None:
    unread = [label.name for label in found.guessed if not label.synsets]
    such = f": {_some(unread, SHOWN_NAMES)}" if unread else ""
    out.note(
        f"{found.name}: {len(found.guessed):,} of {len(found):,} labels are read word by word (CatLIP 4.2); "
        f"{len(unread):,} of them have a word that is no noun{such}"
    )


def warn_of_missed(found: "LabelSet", out: Output) -> None:
    """Name the lines whose label nothing in WordNet fits."""
    from catlipctl.labels.targets import without_synset

    if missed := without_synset(found):
        out.warn(f"no synset: {missed}")


def meanings_table(meanings: "list[Meaning]") -> "Table":
    """A row a word of each label: its synset, what that is called, what it is a kind of, its other senses."""
    shown = table("line", "label", "synset", "words", "a kind of", "other senses", numbers=["line"])
    for meaning in meanings:
        line = "" if meaning.line is None else str(meaning.line)
        if not meaning.senses:
            shown.add_row(line, meaning.label, "no synset", "", "", "")
        for place, sense in enumerate(meaning.senses):
            shown.add_row(
                *((line, meaning.label) if place == 0 else ("", "")),
                sense.synset,
                ", ".join(sense.lemmas),
                " < ".join(sense.above[:SHOWN_ABOVE]),
                _some(sense.others, SHOWN_OTHERS),
            )
    return shown


def _some(names: list[str], shown: int) -> str:
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
