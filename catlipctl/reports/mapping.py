"""The page of a Transfer Init: how each label met the vocabulary, what to look at, and its nearest labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from catlipctl import files
from catlipctl.reports.page import Cell, Link, Links, Section, Table, page

if TYPE_CHECKING:
    from catlipctl.transfer import TransferInit
    from catlipctl.transfer.initialise import AccountRow, Neighbours

SHOWN = 6
"""Classes, or labels, in a cell."""


def save_mapping(result: "TransferInit", path: Path) -> None:
    """Write the page; `result` has neighbours."""
    title = f"{result.target} by Transfer Init"
    files.write_text(path, page(title, _sections(result), path.parent))


def _sections(result: "TransferInit") -> list[Section]:
    rows = list(zip(result.account, result.neighbours, strict=True))
    made = [_summary(result)]
    if missed := [(row, near) for row, near in rows if near.classes or row.how == "random"]:
        made.append(_missed(missed))
    if guessed := [row for row in result.account if row.senses == "guessed"]:
        made.append(_guessed(guessed))
    if shared := [row for row in result.account if row.shared]:
        made.append(_shared(shared))
    return [*made, _all(rows)]


def _summary(result: "TransferInit") -> Section:
    account = Path(result.checkpoint) / "account.csv"
    counts = [[how, f"{count:,}"] for how, count in result.counts.items()]
    text = (
        f"{result.labels:,} labels by {result.distinct_rows:,} distinct rows, random ones aside; "
        f"{result.shared:,} have the very row of another label. Mapping `{result.mapping}`, path similarity "
        f"from {result.min_similarity:g}.\n\nTo overrule what a label means: copy the account, change its "
        "`synsets`, and give the copy to `catlipctl transfer-init --target COPY.csv`."
    )
    return Section("How the labels were met", [text, Table(["row", "labels"], counts), _ways(account)])


def _ways(account: Path) -> Links:
    return Links([Link("account.csv", account)])


def _missed(rows: "Sequence[tuple[AccountRow, Neighbours]]") -> Section:
    table = [
        [
            row.label,
            row.how,
            ", ".join(near.synset for near in found.classes) or "no synset",
            "; ".join(f"{_some(near.classes)} ({near.similarity:.2f})" for near in found.classes),
        ]
        for row, found in rows
    ]
    text = "What was too far away for a row. In brackets is the path similarity that would let it in."
    return Section(
        "Missed words", [text, Table(["label", "row", "missed", "nearest in the vocabulary"], table)]
    )


def _guessed(rows: "Sequence[AccountRow]") -> Section:
    doubtful_first = sorted(rows, key=lambda row: not row.other_senses)
    table = [[r.label, _some(r.synsets) or "nothing", _some(r.other_senses)] for r in doubtful_first]
    text = "The names gave no synset; of each word the sense was taken that fits the other labels."
    return Section("Guessed senses", [text, Table(["label", "taken for", "not for"], table)])


def _shared(rows: "Sequence[AccountRow]") -> Section:
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        groups.setdefault(tuple(sorted(row.sources)), []).append(row.label)
    names = {tuple(sorted(row.sources)): row.source_names for row in rows}
    largest = sorted(groups.items(), key=lambda group: -len(group[1]))
    table = [[f"{len(labels):,}", ", ".join(labels), _some(names[key])] for key, labels in largest]
    text = "Nothing tells such labels apart before training."
    return Section("Labels that share a row", [text, Table(["labels", "", "row of"], table)])


def _all(rows: "Sequence[tuple[AccountRow, Neighbours]]") -> Section:
    table = [
        [
            row.label,
            _some(row.synsets),
            row.how,
            Cell(f"{row.similarity:.2f}", row.similarity),
            _some(row.source_names),
            ", ".join(f"{near.label} ({near.cosine:.2f})" for near in found.labels),
        ]
        for row, found in rows
    ]
    columns = ["label", "means", "row", "similarity", "from", "nearest labels"]
    text = (
        "Nearest are the labels whose rows are most alike, by the cosine between them, their mean taken out."
    )
    return Section("All labels", [text, Table(columns, table)])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
