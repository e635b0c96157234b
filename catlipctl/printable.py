"""Text from outside (captions, keys, names) made safe to show: a terminal obeys what it is sent."""

import re

_LOOKS_LIKE_NOTHING = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters: ESC, and the C1 ones that begin a sequence too
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"  # what turns the direction of the text around it
    "\u2028\u2029\ufff9-\ufffb\ufeff"
    "\ud800-\udfff"  # no text at all; of a file's name they are bytes that are no UTF-8
)
_UNSAFE = re.compile(f"[{_LOOKS_LIKE_NOTHING}]")
_UNSAFE_IN_A_LINE = re.compile(f"[\t\n{_LOOKS_LIKE_NOTHING}]")


def printable(text: str) -> str:
    r"""The text with what a terminal would obey or hide spelled out, as Python spells it: `\x1b`, `\u202e`.

    Line breaks and tabs stay, for messages of several lines.
    """
    return _UNSAFE.sub(_spelled, text)


def one_line(text: str) -> str:
    r"""`printable` for a name or a cell, in which line breaks and tabs are spelled too: `\n`, `\t`."""
    return _UNSAFE_IN_A_LINE.sub(_spelled, text)


def printable_json(text: str) -> str:
    r"""A JSON document with the same characters as JSON's own escapes (`\u001b`): it says the same."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
