"""Which members of a tar's samples are image, captions and label, by signature, and the texts in them."""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from catlipctl.data.sample import Labels
from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.faults import MAX_CAPTION_BYTES, labels_of, texts
from catlipctl.data.sources.tars.index import (
    EMPTY,
    IMAGE_EXTENSIONS,
    LONG,
    LONGER,
    LONGEST,
    MAX_JSON_BYTES,
    NOT_TEXT,
    Signature,
)


class Key(NamedTuple):
    """Where a text is: a member's extension, and a field of it if the member is JSON."""

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


def fields(body: bytes) -> dict[str, Any]:
    """The object in a JSON member; empty where it is none."""
    try:
        document = json.loads(body.decode(errors="replace"))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


class Cell(NamedTuple):
    """One thing (image, a caption, label) of the samples of a signature: the first of some keys they have.

    key: None where they have none. member: its number. state: its. blank: whether they have an empty member
    instead.
    """

    key: Key | None
    member: int = -1
    state: int = EMPTY
    blank: bool = False

    @classmethod
    def of(cls, keys: Sequence[Key], signature: Signature) -> "Cell":
        """The first of the keys whose member is there and not empty."""
        there = {extension: (n, state) for n, (extension, state) in enumerate(signature.members)}
        for key in keys:
            member, state = there.get(key.extension, (-1, EMPTY))
            if state != EMPTY:
                return cls(key, member, state)
        return cls(None, blank=any(key.field is None and key.extension in there for key in keys))

    @property
    def has(self) -> bool:
        """Whether the samples have it."""
        return self.key is not None

    @property
    def too_long(self) -> bool:
        """Whether it is longer than what is read of it."""
        return self.key is not None and self.state >= (LONG if self.key.field is None else LONGER)

    def texts(
        self,
        body: bytes | None,
        fault: Callable[[str], object] = lambda _: None,
        blank: tuple[str, ...] = (),
    ) -> tuple[str, ...]:
        """The texts in a member of a sample: none where it has none, several if a list.

        body: its bytes, one more than are used if there are so many. fault: told the kind of what is wrong.
        blank: what an empty member gives.
        """
        key = self.key
        if key is None:
            return blank if self.blank else ()
        body = body or b""
        if key.field is None:
            return texts(body, fault)
        if len(body) > key.max_bytes:
            fault(kinds.LONG_CAPTION)
        elif self.state == NOT_TEXT:
            fault(kinds.NOT_UTF8)
        return texts(fields(body[: key.max_bytes + 1]).get(key.field), fault)

    def labels(self, body: bytes | None) -> Labels:
        """The classes in a member of a sample; None where it has none. body: its bytes."""
        if self.key is None or body is None:
            return None
        return labels_of(body if self.key.field is None else fields(body).get(self.key.field))


class Keys:
    """Where images, captions and labels are looked for.

    The keys are those asked for, else the usual image extensions; `txt`, else `json:caption`; and `cls`.
    """

    def __init__(self, image_key: str | None, caption_keys: Sequence[str], label_key: str | None) -> None:
        images = [image_key] if image_key else IMAGE_EXTENSIONS
        captions = [[Key.parse(key)] for key in caption_keys] or [[Key("txt"), Key("json", "caption")]]
        self.image = [Key.parse(key) for key in images]
        self.captions = captions
        self.label = [Key.parse(label_key or "cls")]

    def cells(self, signature: Signature) -> "Cells":
        """What the samples of a signature have of them."""
        return Cells(
            Cell.of(self.image, signature),
            tuple(Cell.of(keys, signature) for keys in self.captions),
            Cell.of(self.label, signature),
        )


class Cells(NamedTuple):
    """What samples of one signature have: an image, a caption for each that was asked for, a label."""

    image: Cell
    captions: tuple[Cell, ...]
    label: Cell

    @property
    def large(self) -> bool:
        """Whether the image is too large."""
        return self.image.state == LONGEST

    @property
    def has_caption(self) -> bool:
        """Whether there is a caption that is not empty."""
        return any(cell.has for cell in self.captions)

    @property
    def has_blank(self) -> bool:
        """Whether there is an empty caption instead of one."""
        return any(cell.blank for cell in self.captions)
