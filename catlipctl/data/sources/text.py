"""From the bytes or values that a source keeps to captions and labels, bounded in size."""

import json
from typing import Any, NamedTuple

from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.faults import MAX_CAPTION_BYTES, Faults

MAX_JSON_BYTES = 16 * 2**20


class Key(NamedTuple):
    """Where a text is in a tar: a member's extension, and a field of it if the member is JSON."""

    extension: str
    field: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Key":
        """`txt`, `cls`, or `json:caption`."""
        extension, colon, field = text.partition(":")
        return cls(extension.lower().removeprefix("."), field if colon else None)

    def __str__(self) -> str:
        return self.extension if self.field is None else f"{self.extension}:{self.field}"

    @property
    def max_bytes(self) -> int:
        """How much of a member is read for it."""
        return MAX_CAPTION_BYTES if self.field is None else MAX_JSON_BYTES

    def texts(self, body: bytes) -> tuple[str, ...]:
        """The texts in a member's bytes: one; of a JSON field none if missing, several if a list."""
        if self.field is None:
            return texts(body)
        document = fields(body)
        return texts(document.get(self.field))


def fields(body: bytes) -> dict[str, Any]:
    """The object in a JSON member; empty where it is none."""
    try:
        document = json.loads(body.decode(errors="replace"))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def texts(value: Any) -> tuple[str, ...]:
    """A stored value as texts: bytes decoded with replacement, numbers spelled, lists taken one by one."""
    if value is None:
        return ()
    if isinstance(value, bytes):
        return (value[:MAX_CAPTION_BYTES].decode(errors="replace").strip(),)
    if isinstance(value, list | tuple):
        return tuple(text for item in value for text in texts(item))
    if isinstance(value, dict):
        return ()
    return (cut(str(value)).strip(),)


def captions(value: Any, found: Faults, where: str, at: object) -> tuple[str, ...]:
    """`texts` of a stored caption; what is wrong with it is counted, with `WHERE AT` as the example.

    A str may hold surrogates: of bytes that were no UTF-8 (surrogateescape), or lone ones that JSON spelled.
    """
    if isinstance(value, str):
        if value.isascii() and len(value) <= MAX_CAPTION_BYTES:
            return (value.strip(),)
        try:
            value = value.encode(errors="surrogateescape")
        except UnicodeEncodeError:
            value = value.encode(errors="surrogatepass")
    if isinstance(value, bytes):
        if len(value) > MAX_CAPTION_BYTES:
            found.add(kinds.LONG_CAPTION, 1, f"{where} {at}")
            return texts(value)
        try:
            return (value.decode().strip(),)
        except UnicodeDecodeError:
            found.add(kinds.NOT_UTF8, 1, f"{where} {at}")
    elif isinstance(value, list | tuple):
        return tuple(text for item in value for text in captions(item, found, where, at))
    return texts(value)


def cut(text: str) -> str:
    """`text`, at most 1 MiB of it in UTF-8."""
    if len(text) * 4 <= MAX_CAPTION_BYTES:
        return text
    return text.encode(errors="replace")[:MAX_CAPTION_BYTES].decode(errors="ignore")
