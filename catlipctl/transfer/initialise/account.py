"""How each row of a classifier was made: the account of Transfer Init, written, read, and edited by hand.

As `account.csv` it is a label set too: its column `synsets` says what a label means, and edited by hand it
decides so in the next call. Column `senses` says who decided so far, and `other_senses` what else the words
of a guess may mean.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from catlipctl.errors import CheckpointError
from catlipctl.files import FileKind
from catlipctl.labels import wordnet
from catlipctl.labels.targets import How, LabelSet, Senses, meanings
from catlipctl.transfer.initialise.matching import LabelMatch

ACCOUNT = "account.csv"
COLUMNS = ("label", "synsets", "how", "similarity", "sources", "source_names", "missed")
"""Those that every account has; others came later."""
MORE_COLUMNS = ("shared", "senses", "other_senses", "multi_label")
LISTS = ("synsets", "sources", "source_names", "missed", "other_senses")
_AGAIN = "make the classifier again: catlipctl transfer-init"
_KIND = FileKind("an account of Transfer Init", 2**28, CheckpointError, _AGAIN)


class AccountRow(BaseModel):
    """How one row of the classifier was made.

    synsets: what the label means, as WordNet names; senses: who says so; other_senses: of the words of a
    guess, the most frequent first. missed: those synsets that nothing fits. sources: keys of
    the vocabulary's classes whose rows were taken, source_names: their WordNet names. similarity: see
    `LabelMatch.similarity`. shared: how many other labels have the very same row.
    """

    label: str
    synsets: list[str]
    how: How
    similarity: float
    sources: list[str]
    source_names: list[str]
    missed: list[str] = []
    shared: int = 0
    senses: Senses = "given"
    other_senses: list[str] = []

    @classmethod
    def from_csv(cls, row: dict[str, str]) -> "AccountRow":
        """A row of the file that `account_csv` wrote."""
        lists = {name: row[name].split() for name in LISTS if name in row}
        return cls.model_validate({**row, **lists, "similarity": row["similarity"] or 0})


def account_of(labelset: LabelSet, matches: Sequence[LabelMatch], shared: Sequence[int]) -> list[AccountRow]:
    """One row a label, in the label set's order. shared: how many others have each label's row."""
    name = wordnet.nouns().name
    others = {
        meaning.label: [other for sense in meaning.senses for other in sense.others]
        for meaning in meanings(replace(labelset, labels=labelset.guessed))
    }
    return [
        AccountRow(
            label=label.name,
            synsets=[name(key) for key in label.synsets],
            how=match.how,
            similarity=match.similarity,
            sources=list(match.sources),
            source_names=[name(key) for key in match.sources],
            missed=[name(key) for key in match.missed],
            shared=others_with_it,
            senses=label.senses,
            other_senses=others.get(label.name, []),
        )
        for label, match, others_with_it in zip(labelset.labels, matches, shared, strict=True)
    ]


def account_csv(account: Sequence[AccountRow], *, multi_label: bool) -> str:
    """The account as CSV, which `labels.targets.load` reads as a label set, multi-label or not."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, (*COLUMNS, *MORE_COLUMNS), lineterminator="\n")
    writer.writeheader()
    for row in account:
        lists = {name: " ".join(getattr(row, name)) for name in LISTS}
        cells = {
            "label": row.label,
            "how": row.how,
            "similarity": f"{row.similarity:.4g}",
            "senses": row.senses,
        }
        more = {"shared": row.shared, "multi_label": "yes" if multi_label else "no"}
        writer.writerow({**lists, **cells, **more})
    return stream.getvalue()


def read_account(path: Path) -> list[AccountRow]:
    """What `account_csv` wrote; CheckpointError names a row that it did not."""
    rows = []
    for number, row in enumerate(_KIND.read_table(path, COLUMNS), start=1):
        try:
            rows.append(AccountRow.from_csv(row))
        except ValueError as error:
            raise _KIND.refused(path, f"row {number} has a wrong value") from error
    return rows
