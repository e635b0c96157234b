"""The one label-set format, read: TSV, `label<TAB>synset[,synset...]`, where the row is the class id.

    dog<TAB>n02084071                           a key, or dog.n.01
    restaurant_kitchen<TAB>restaurant.n.01,kitchen.n.01    several words: the average of their rows
    mumbo jumbo<TAB>                            nothing fits: a random row
    n02084071                                   a synset alone is named by WordNet
    sports car                                  a name alone: a guess (`senses.py`), also of its words

So a plain list of names is a label set too.

Lines that start with `# ` are comments. An `account.csv` has columns `label` and `synsets`, perhaps
`multi_label` (yes or no), and others that do not matter here.
"""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from catlipctl.errors import DataError
from catlipctl.files import FileKind
from catlipctl.labels import wordnet
from catlipctl.labels.targets.labelset import Label, LabelSet, names_of
from catlipctl.labels.targets.senses import guesses
from catlipctl.labels.wordnet import NounGraph

BUILT_IN = (
    "imagenet", "imagenet21k", "places365", "coco", "ade20k", "cifar10", "cifar100", "sun397", "emoji",
)  # fmt: skip

MULTI_LABEL = ("coco", "ade20k")
"""Built-in sets of which an image has several labels; in the others they exclude each other."""

MAX_FAULTS_SHOWN = 5
HINT = "each row is label<TAB>synset[,synset...], without a header: dog<TAB>dog.n.01"
KIND = FileKind("a label set", 64 * 2**20, DataError, HINT)


class Row(NamedTuple):
    """One class as written: `synsets` is None where the row has no such column."""

    line: int
    label: str
    synsets: str | None
    multi_label: bool = False


def load(name_or_path: str | Path, *, multi_label: bool | None = None) -> LabelSet:
    """The built-in label set of that name, else the TSV file or account.csv at that path.

    multi_label: whether an image may have several labels; None: what a built-in set is known to be, what an
    account says, and no for other files. Raises DataError for a name that is neither, an unknown synset, a
    repeated label, an empty file, and for one in which no row has a synset: text of another kind.
    """
    name = str(name_or_path)
    found = _built_in(name) if name in BUILT_IN else _from_file(Path(name))
    return found if multi_label is None else replace(found, multi_label=multi_label)


def listed(text: str) -> LabelSet:
    """Labels that an image may have several of: a built-in set or a file, else names parted by commas.

    Raises what `load` raises.
    """
    if text in BUILT_IN or os.path.exists(text):
        return load(text, multi_label=True)
    names = [name.strip() for name in text.split(",")]
    rows = (Row(number, name, None) for number, name in enumerate(names, start=1) if name)
    found = replace(_label_set("tags", "the tags", rows), multi_label=True)
    if not any(label.synsets for label in found.labels):
        raise DataError(
            f"none of the tags means anything in WordNet: {without_synset(found)}",
            "name things: dog,sofa; or a file with rows label<TAB>synset",
        )
    return found


def _from_file(path: Path) -> LabelSet:
    if not os.path.exists(path):
        near = get_close_matches(str(path), BUILT_IN, 1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise DataError(
            f"no label set {path}: neither built in nor a file",
            f"{meant}built in: {', '.join(BUILT_IN)}; or a file with one label a line, or with rows "
            "label<TAB>synset[,synset...]",
        )
    text = KIND.read_text(path)
    if text.lstrip()[:1] in ("{", "["):
        raise DataError(f"{path} is JSON, not a label set", HINT)
    rows = list(_account_rows(text, path) if path.suffix == ".csv" else _tsv_rows(text))
    # Accounts are all called so: each lies in a folder that is called as its target was.
    name = path.parent.name or path.stem if path.name == "account.csv" else path.stem
    found = replace(_label_set(name, str(path), rows), multi_label=any(row.multi_label for row in rows))
    if not any(label.synsets for label in found.labels):
        lines = f" ({without_synset(found)})" if found.guessed else ""
        raise DataError(f"{path}: none of its {len(found):,} rows means anything in WordNet{lines}", HINT)
    return found


def without_synset(target: LabelSet) -> str:
    """The names that nothing in WordNet fits, each with its line; empty where there are none."""
    missed = [f"line {label.line}: {label.name}" for label in target.guessed if not label.synsets]
    more = f" and {len(missed) - MAX_FAULTS_SHOWN} more" if len(missed) > MAX_FAULTS_SHOWN else ""
    return "; ".join(missed[:MAX_FAULTS_SHOWN]) + more


@cache
def _built_in(name: str) -> LabelSet:
    text = resources.files(__package__).joinpath("data", f"{name}.tsv").read_text(encoding="utf-8")
    found = _label_set(name, name, _tsv_rows(text))
    # A wnid in place of a name is what the data set says; for names the table is ours.
    labels = tuple(
        label if row.synsets is None else replace(label, senses="built-in")
        for label, row in zip(found.labels, _tsv_rows(text), strict=True)
    )
    return replace(found, labels=labels, multi_label=name in MULTI_LABEL)


def _tsv_rows(text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.startswith("# "):
            label, tab, synsets = line.partition("\t")
            yield Row(number, label.strip(), synsets if tab else None)


def _account_rows(text: str, path: Path) -> Iterator[Row]:
    heading = text.partition("\n")[0]
    delimiter = max(",;\t", key=heading.count)  # spreadsheets write what their country does
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="", delimiter=delimiter)
    missing = {"label", "synsets"} - set(reader.fieldnames or ())
    if missing:
        raise DataError(
            f"{path} has no column {' or '.join(sorted(missing))}", "transfer-init writes account.csv"
        )
    try:
        for row in reader:
            several = row.get("multi_label", "") == "yes"
            yield Row(reader.line_num, row["label"].strip(), row["synsets"], several)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}", "save it as plain CSV") from error


def _label_set(name: str, source: str, rows: Iterable[Row]) -> LabelSet:
    graph = wordnet.nouns()
    labels: list[Label] = []
    faults: list[str] = []
    lines: dict[str, int] = {}
    unnamed: list[int] = []
    for place, row in enumerate(rows):
        written = _written_synsets(row, graph)
        keys = [(text, _key(text, graph)) for text in written or ()]
        faults += [f"line {row.line}: no WordNet 3.0 noun synset {text}" for text, key in keys if key is None]
        if not row.label:
            faults.append(f"line {row.line}: no label")
        elif lines.setdefault(row.label, row.line) != row.line:
            faults.append(f"line {row.line}: label {row.label} stands on line {lines[row.label]} too")
        elif row.synsets is None and written:
            unnamed.append(place)
        synsets = tuple(key for _, key in keys if key is not None)
        labels.append(
            Label(row.label, synsets)
            if written is not None
            else Label(row.label, synsets, row.line, senses="guessed")
        )
    if faults:
        more = [f"and {len(faults) - MAX_FAULTS_SHOWN} more"] if len(faults) > MAX_FAULTS_SHOWN else []
        raise DataError(
            f"{source}: " + "; ".join(faults[:MAX_FAULTS_SHOWN] + more),
            "synsets are written n02084071 or dog.n.01; leave the column empty where nothing fits",
        )
    if not labels:
        raise DataError(f"{source} has no rows", HINT)
    made = names_of([labels[place].synsets[0] for place in unnamed], graph)
    for place, label_name in zip(unnamed, made, strict=True):
        labels[place] = replace(labels[place], name=label_name)
    return LabelSet(name, _guessed(labels))


def _guessed(labels: Sequence[Label]) -> tuple[Label, ...]:
    """The labels, with a guess at those that are names alone."""
    names = [label.name for label in labels if label.senses == "guessed"]
    if not names:
        return tuple(labels)
    found = iter(guesses(names, [key for label in labels for key in label.synsets]))
    return tuple(
        replace(label, synsets=next(found)) if label.senses == "guessed" else label for label in labels
    )


def _written_synsets(row: Row, graph: NounGraph) -> tuple[str, ...] | None:
    """The synsets of a row as they are written; None for a name alone."""
    if row.synsets is not None:
        return tuple(dict.fromkeys(row.synsets.replace(",", " ").replace(";", " ").split()))
    return (row.label,) if _key(row.label, graph) is not None else None


def _key(written: str, graph: NounGraph) -> str | None:
    return written if written in graph else graph.key_of(written)
