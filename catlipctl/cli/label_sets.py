"""Label sets on the command line: what their labels mean is shown before anything is made of it."""

from typing import TYPE_CHECKING

from catlipctl.cli.output import Output
from catlipctl.cli.tables import table

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.labels.targets import LabelSet
    from catlipctl.labels.targets.senses import Meaning

SHOWN_ABOVE = 3
SHOWN_OTHERS = 4


def label_set(name: str, out: Output, *, multi_label: bool | None = None) -> "LabelSet":
    """The label set of that name or file; senses that were guessed of it are shown on stderr."""
    from catlipctl.labels import targets

    found = targets.load(name, multi_label=multi_label)
    if found.guessed:
        out.note(f"{name}: the synsets of {len(found.guessed):,} of {len(found):,} labels are guessed")
        out.note_table(meanings_table([m for m in targets.meanings(found) if m.line is not None]))
        warn_of_missed(found, out)
        out.note(f"to edit them: catlipctl labels --target {name} --out FILE.tsv, then --target FILE.tsv")
    return found


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
                _some(sense.others),
            )
    return shown


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN_OTHERS} more" if len(names) > SHOWN_OTHERS else ""
    return ", ".join(names[:SHOWN_OTHERS]) + more
