"""Vocabularies in others' forms: the pickle that CatLIP released, and text, a class a line."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catlipctl import labels
from catlipctl.errors import DataError
from catlipctl.files import FileKind
from catlipctl.results import Result
from catlipctl.vocabulary.pickled import pickled_rows
from catlipctl.vocabulary.vocabulary import MAX_BYTES, MAX_CLASSES, MAX_KEY_LENGTH, Counted, Vocabulary

FIRST_LINE = re.compile(r"[^\t\r\n]+\t[0-9]+(\t|\r|\n|$)")
"""What tells exported text from other files."""
KIND = FileKind("a vocabulary", MAX_BYTES, DataError, "name a pickle or exported text")


def imported(
    path: str | Path,
    *,
    extractor: str = "corenet",
    counted: Counted = "occurrences",
    max_size: int | None = None,
) -> Vocabulary:
    """The vocabulary in a pickled dict (key -> count, unpadded keys: `n2084071`) or in exported text.

    A Counter or an OrderedDict is such a dict too. The order of its rows is its class ids, and stays. What
    such a file does not say is not known: how many captions it counted and what was dropped from it.
    `extractor` and `counted` are believed: the released code does not define whether occurrences or captions
    were counted; the paper counts occurrences (3.2).
    max_size: only the first so many rows.

    Raises:
        DataError: the file cannot be read; a pickle that holds anything but one dict of texts and numbers; a
            key that is no synset or stands twice; a count that is no whole number or out of order.
    """
    path = Path(path)
    made_by = labels.extractor(extractor)
    rows = _checked(_rows(path), str(path), synsets=made_by.reach() is not None)[:max_size]
    return Vocabulary(
        keys=tuple(key for key, _ in rows),
        counts=tuple(count for _, count in rows),
        extractor=extractor,
        extractor_version=made_by.version,
        source=path.name,
        captions=None,
        captions_without_label=None,
        counted=counted,
        threshold=0,
        # As if cut by its size: rarer keys may or may not have been there.
        max_size=len(rows),
    )


def _rows(path: Path) -> list[tuple[Any, Any]]:
    data = KIND.read_bytes(path)
    if not FIRST_LINE.match(data[:1000].decode("utf-8-sig", "replace")):
        return pickled_rows(data, str(path))
    try:
        return listed_rows(data.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _checked(rows: Sequence[tuple[Any, Any]], name: str, *, synsets: bool) -> list[tuple[str, int]]:
    """The rows, in their order, with keys padded."""
    from catlipctl.labels import wordnet

    graph = wordnet.nouns()
    found: dict[str, int] = {}
    last = None
    for number, (key, count) in enumerate(rows):
        fault = _key_fault(key, synsets) or _count_fault(count, last)
        if not fault and synsets:
            key = f"n{int(key[1:]):08d}"
            fault = "" if key in graph else f"{key} is not a noun of WordNet 3.0"
        if not fault and key in found:
            fault = f"{key} stands in an earlier row too"
        if fault:
            raise DataError(f"{name}, row {number + 1} (class id {number}): {fault}", _HINT)
        found[key] = last = count
    if not 0 < len(found) <= MAX_CLASSES:
        raise DataError(
            f"{name} has {len(found) or 'no'} rows: 1 to {MAX_CLASSES:,} make a vocabulary", _HINT
        )
    return list(found.items())


_HINT = "keys such as n2084071, each with its count, the largest first, as CatLIP's vocabulary was released"


def _key_fault(key: Any, synsets: bool) -> str:
    if type(key) is not str:
        return f"its key is not text but {type(key).__name__}"
    if synsets and not re.fullmatch("n[0-9]{1,8}", key):
        return f"its key {key[:60]!r} is not a noun's offset"
    return "" if 0 < len(key) <= MAX_KEY_LENGTH else f"its key has {len(key)} characters"


def _count_fault(count: Any, last: int | None) -> str:
    if type(count) is not int:
        return f"its count is not a whole number but {type(count).__name__}"
    if not 0 <= count < 2**63:
        return f"its count is {count}"
    if last is not None and count > last:
        return f"its count {count} is more than {last} of the row before"
    return ""


class Listing(Result):
    """What was exported: how many classes, and into which file (`path`) or, without one, as which `text`."""

    size: int
    path: str = ""
    text: str = ""


def listing(vocabulary: Vocabulary) -> str:
    """The text. Raises DataError for a key that a line cannot hold."""
    names = vocabulary.descriptions()
    for key in vocabulary.keys:
        if re.search(r"[\t\r\n]", key):
            raise DataError(f"the key {key!r} holds a tab or ends a line", "keys of captions hold neither")
    rows = zip(vocabulary.keys, vocabulary.counts, names, strict=True)
    return "".join(f"{key}\t{count}\t{name}\n" for key, count, name in rows)


def listed_rows(text: str, name: str) -> list[tuple[str, int]]:
    """Key and count of each line; a third column is for people. `name` is for messages.

    Raises:
        DataError: a line is not of this form; the message says which.
    """
    rows = []
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        key, tab, rest = line.removesuffix("\r").partition("\t")
        count = rest.partition("\t")[0]
        if not (key and tab and re.fullmatch("[0-9]{1,19}", count)):
            raise DataError(
                f"{name}, line {number}: not KEY<TAB>COUNT: {line[:60]!r}",
                "write one line for each class, as catlipctl vocab export does",
            )
        rows.append((key, int(count)))
    return rows
