"""The captions of one webdataset shard: its headers and its captions are read, images never."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.faults import Faults, tolerated
from catlipctl.data.sources.storage import File
from catlipctl.data.sources.tar import alternatives, image_keys, readable, usable
from catlipctl.data.sources.tar_columns import Column
from catlipctl.data.sources.tar_index import ShardIndex, read_indexes
from catlipctl.data.sources.text import Key, captions, fields

_SAMPLES_AT_ONCE = 1024
_BYTES_AT_ONCE = 32 * 2**20


@dataclass(frozen=True)
class TarCaptions:
    """A tar whose samples are those of `TarSource`: captions without an image are left out and counted."""

    file: File
    image_key: str | None
    caption_keys: tuple[str, ...]
    cache: Path

    @property
    def name(self) -> str:
        """Path or URL of the tar."""
        return self.file.path

    @property
    def size(self) -> int:
        """Bytes of the tar."""
        return self.file.size

    @property
    def identity(self) -> str:
        """Changes with the file and with what is read of it."""
        return json.dumps(["tar", *self.file, self.image_key, self.caption_keys])

    def read(self, found: Faults) -> Iterator[tuple[str, ...]]:
        """The captions of each sample, in the order of the samples."""
        return tolerated(self.file.path, self._read(found), found)

    def _read(self, found: Faults) -> Iterator[tuple[str, ...]]:
        _, indexes = readable([self.file], read_indexes([self.file], self.cache), found)
        for index in indexes:
            yield from self._read_indexed(index, found)

    def _read_indexed(self, index: ShardIndex, found: Faults) -> Iterator[tuple[str, ...]]:
        def where(row: int) -> str:
            return f"{self.file.name}: {index.key(row)}"

        columns = [Column.find(keys, [index]) for keys in alternatives(self.caption_keys)]
        empty = [_empty(column.keys, index) for column in columns]
        caption = np.logical_or.reduce([column.has for column in columns] + empty)
        images = Column.find(image_keys(self.image_key), [index])
        used = usable(images, caption, caption, kinds.NO_CAPTION, found, where)
        columns = [column.take(used) for column in columns]
        empty = [mask[used] for mask in empty]
        try:
            for start, stop in _runs(np.sum([column.size for column in columns], axis=0)):
                texts = [
                    self._texts(index, column, mask, used, range(start, stop), found)
                    for column, mask in zip(columns, empty, strict=True)
                ]
                for at, groups in zip(used[start:stop], zip(*texts, strict=True), strict=True):
                    said = tuple(text for group in groups for text in group)
                    if said:
                        yield said
                    else:
                        found.add(kinds.NO_CAPTION, 1, where(int(at)))
        except OSError as error:
            found.add(kinds.DAMAGED, 1, f"{self.file.path}: {error.strerror or error}")

    def _texts(
        self,
        index: ShardIndex,
        column: Column,
        empty: NDArray[np.bool_],
        used: NDArray[np.int64],
        rows: range,
        found: Faults,
    ) -> list[tuple[str, ...]]:
        """The texts of some samples in one column: none where it has none, '' where its member is empty."""
        which = column.which[rows.start : rows.stop].tolist()
        there = [row for row, number in zip(rows, which, strict=True) if number >= 0]
        # A byte more than is used tells that a caption is too long.
        sizes = [min(int(column.size[row]), column.keys[column.which[row]].max_bytes + 1) for row in there]
        bodies = iter(self.file.read_many(column.offset[there].tolist(), sizes))
        texts: list[tuple[str, ...]] = []
        for row, number in zip(rows, which, strict=True):
            if number < 0:
                texts.append(("",) if empty[row] else ())
                continue
            key, body = column.keys[number], next(bodies)
            sample = index.key(int(used[row]))
            if key.field is None:
                texts.append(captions(body, found, f"{self.file.name}:", sample))
                continue
            if len(body) > key.max_bytes:
                found.add(kinds.LONG_CAPTION, 1, f"{self.file.name}: {sample}")
            elif not column.utf8[row]:
                found.add(kinds.NOT_UTF8, 1, f"{self.file.name}: {sample}")
            texts.append(captions(fields(body).get(key.field), found, f"{self.file.name}:", sample))
        return texts


def _empty(keys: Sequence[Key], index: ShardIndex) -> NDArray[np.bool_]:
    """`[S]`, whether a sample has an empty member where a caption would be."""
    found = np.zeros(len(index), np.bool_)
    for key in keys:
        if key.field is None and key.extension in index.extensions:
            of_key = index.extension == index.extensions.index(key.extension)
            found[index.sample[of_key & (index.size == 0)]] = True
    return found


def _runs(sizes: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut samples into runs that can be held at once."""
    group = np.cumsum(sizes) // _BYTES_AT_ONCE + np.arange(len(sizes)) // _SAMPLES_AT_ONCE
    starts = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(sizes)]
    yield from ((start, stop) for start, stop in pairwise(starts) if stop > start)
