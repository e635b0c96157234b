"""A vocabulary as lines of text: key, count and name, tab-separated; the line is the class id."""

import re

from catlipctl.errors import DataError
from catlipctl.results import Result
from catlipctl.vocabulary.vocabulary import Vocabulary

FIRST_LINE = re.compile(r"[^\t\r\n]+\t[0-9]+(\t|\r|\n|$)")
"""What tells such text from other files."""


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
                "a line a class, as catlipctl vocab export writes them",
            )
        rows.append((key, int(count)))
    return rows
