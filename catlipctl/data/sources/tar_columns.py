"""Which members of a tar's samples are image, captions and label, and the texts in them."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.faults import MAX_CAPTION_BYTES, MAX_IMAGE_BYTES, Faults, texts
from catlipctl.data.sources.storage import File
from catlipctl.data.sources.tar_index import IMAGE_EXTENSIONS, ShardIndex

MAX_JSON_BYTES = 16 * 2**20
_SAMPLES_AT_ONCE = 1024
_BYTES_AT_ONCE = 32 * 2**20

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


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


@dataclass(frozen=True)
class Column:
    """Where one thing (image, caption, label) of each of N samples lies: the first of `keys` that it has.

    which: `[N]`, index into `keys`, -1 where the sample has none. offset, size: `[N]`, bytes in its shard.
    utf8: `[N]`, False where it was seen to be no UTF-8. blank: `[N]`, whether it has an empty member instead.
    """

    keys: tuple[Key, ...]
    which: NDArray[np.int8]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    utf8: Mask
    blank: Mask

    @classmethod
    def find(cls, keys: Sequence[Key], indexes: Sequence[ShardIndex]) -> "Column":
        """Look the keys up in the shards' indexes."""
        samples = sum(len(index) for index in indexes)
        column = cls(
            keys=tuple(keys),
            which=np.full(samples, -1, np.int8),
            offset=np.zeros(samples, np.int64),
            size=np.zeros(samples, np.int64),
            utf8=np.ones(samples, np.bool_),
            blank=np.zeros(samples, np.bool_),
        )
        first = 0
        for index in indexes:
            for rank, key in reversed(list(enumerate(keys))):
                if key.extension in index.extensions:
                    of_key = index.extension == index.extensions.index(key.extension)
                    chosen = of_key & (index.size > 0)
                    rows = first + index.sample[chosen]
                    column.which[rows] = rank
                    column.offset[rows] = index.offset[chosen]
                    column.size[rows] = index.size[chosen]
                    column.utf8[rows] = index.utf8[chosen]
                    if key.field is None:
                        column.blank[first + index.sample[of_key & ~chosen]] = True
            first += len(index)
        return replace(column, blank=column.blank & ~column.has)

    @property
    def has(self) -> Mask:
        """`[N]`, whether a sample has it."""
        return self.which >= 0

    @property
    def too_long(self) -> Mask:
        """`[N]`, whether a sample's member is longer than what is read of it."""
        limits = np.array([key.max_bytes for key in self.keys] + [0])
        return self.has & (self.size > limits[self.which])

    def take(self, rows: Rows) -> "Column":
        """The column of the chosen samples."""
        which, offset, size = self.which[rows], self.offset[rows], self.size[rows]
        return Column(self.keys, which, offset, size, self.utf8[rows], self.blank[rows])

    def texts(
        self,
        file: File,
        rows: range,
        fault: Callable[[int, str], object] = lambda *_: None,
        blank: tuple[str, ...] = (),
    ) -> list[tuple[str, ...]]:
        """The texts of some samples, which lie in one shard: none where it has none, several if a list.

        fault: told the sample and the kind of what is wrong with one. blank: what an empty member gives.

        Raises:
            ReadFailed: the shard cannot be read.
        """
        which = self.which[rows.start : rows.stop].tolist()
        there = [row for row, number in zip(rows, which, strict=True) if number >= 0]
        # A byte more than is used tells that a text is too long.
        sizes = [min(int(self.size[row]), self.keys[self.which[row]].max_bytes + 1) for row in there]
        bodies = iter(file.read_many(self.offset[there].tolist(), sizes)) if there else iter(())
        found: list[tuple[str, ...]] = []
        for row, number in zip(rows, which, strict=True):
            if number < 0:
                found.append(blank if self.blank[row] else ())
                continue
            key, body = self.keys[number], next(bodies)
            if key.field is None:
                found.append(texts(body, partial(fault, row)))
                continue
            if len(body) > key.max_bytes:
                fault(row, kinds.LONG_CAPTION)
            elif not self.utf8[row]:
                fault(row, kinds.NOT_UTF8)
            found.append(texts(fields(body).get(key.field), partial(fault, row)))
        return found


class Samples:
    """Where the image, the captions and the label of each of N samples lie, in storage order.

    The keys are those asked for, else the usual image extensions; `txt`, else `json:caption`; and `cls`.
    image, label: a `Column`; captions: one for each that was asked for. shard: `[N]`, index into `files`.
    """

    def __init__(
        self,
        files: Sequence[File],
        indexes: Sequence[ShardIndex],
        image_key: str | None,
        caption_keys: Sequence[str],
        label_key: str | None = None,
    ) -> None:
        images = [image_key] if image_key else IMAGE_EXTENSIONS
        captions = [[Key.parse(key)] for key in caption_keys] or [[Key("txt"), Key("json", "caption")]]
        self.files = files
        self.image = Column.find([Key.parse(key) for key in images], indexes)
        self.captions = [Column.find(keys, indexes) for keys in captions]
        self.label = Column.find([Key.parse(label_key or "cls")], indexes)
        self.shard = np.repeat(np.arange(len(indexes), dtype=np.int32), [len(index) for index in indexes])
        self._row = np.concatenate([np.arange(len(index), dtype=np.int32) for index in indexes])
        self._keys = [(index.keys, index.key_ends) for index in indexes]

    def __len__(self) -> int:
        return len(self.shard)

    def key(self, number: int) -> str:
        """The key of a sample."""
        keys, ends = self._keys[self.shard[number]]
        row = self._row[number]
        return keys[ends[row - 1] if row else 0 : ends[row]].decode(errors="replace")

    def where(self, number: int) -> str:
        """A sample's name for messages."""
        return f"{self.key(number)} in {self.files[self.shard[number]].name}"

    @property
    def has_caption(self) -> Mask:
        """`[N]`, whether a sample has a caption that is not empty."""
        return np.logical_or.reduce([column.has for column in self.captions])

    def usable(self, needed: Mask, lacking: str, caption: Mask, found: Faults) -> Rows:
        """The samples with an image and what is `needed`; what is left out is counted.

        needed, caption: `[N]`, whether it has them. lacking: the fault of an image without what it needs.
        """
        large = self.image.has & (self.image.size > MAX_IMAGE_BYTES)
        whole = self.image.has & ~large
        for kind, mask in (
            (kinds.NO_IMAGE, caption & ~self.image.has),
            (kinds.LARGE_IMAGE, large),
            (lacking, whole & ~needed),
        ):
            if mask.any():
                found.add(kind, int(mask.sum()), self.where(int(np.argmax(mask))))
        return np.flatnonzero(whole & needed)

    def keep(self, rows: Rows) -> None:
        """Keep the chosen samples alone."""
        self.image, self.label = self.image.take(rows), self.label.take(rows)
        self.captions = [column.take(rows) for column in self.captions]
        self.shard, self._row = self.shard[rows], self._row[rows]

    def runs(self) -> Iterator[tuple[File, range]]:
        """Samples in runs that lie in one shard, and whose captions can be held at once."""
        sizes = np.sum([column.size for column in self.captions], axis=0)
        bounds = np.searchsorted(self.shard, np.arange(len(self.files) + 1))
        for file, (first, last) in zip(self.files, pairwise(bounds.tolist()), strict=True):
            samples = np.arange(last - first) // _SAMPLES_AT_ONCE
            group = np.cumsum(sizes[first:last]) // _BYTES_AT_ONCE + samples
            cuts = [first, *(first + 1 + np.flatnonzero(np.diff(group))).tolist(), last]
            yield from ((file, range(start, stop)) for start, stop in pairwise(cuts) if stop > start)
