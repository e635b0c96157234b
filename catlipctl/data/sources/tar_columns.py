"""Where images, captions and labels lie in shards: which members of a sample are what."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catlipctl.data.sources.storage import File
from catlipctl.data.sources.tar_index import ShardIndex
from catlipctl.data.sources.text import Key


@dataclass(frozen=True)
class Column:
    """Where one thing (image, caption, label) of each of N samples lies: the first of `keys` that it has.

    which: `[N]`, index into `keys`, -1 where the sample has none. offset, size: `[N]`, bytes in its shard.
    utf8: `[N]`, False where it was seen to be no UTF-8.
    """

    keys: tuple[Key, ...]
    which: NDArray[np.int8]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    utf8: NDArray[np.bool_]

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
            first += len(index)
        return column

    @property
    def has(self) -> NDArray[np.bool_]:
        """`[N]`, whether a sample has it."""
        return self.which >= 0

    def take(self, rows: NDArray[np.int64]) -> "Column":
        """The column of the chosen samples."""
        return Column(self.keys, self.which[rows], self.offset[rows], self.size[rows], self.utf8[rows])

    @property
    def too_long(self) -> NDArray[np.bool_]:
        """`[N]`, whether a sample's member is longer than what is read of it."""
        limits = np.array([key.max_bytes for key in self.keys] + [0])
        return self.has & (self.size > limits[self.which])

    def texts(self, file: File, start: int, stop: int) -> list[tuple[str, ...]]:
        """The texts of samples `start` to `stop`, which lie in one shard."""
        which, offsets = self.which[start:stop].tolist(), self.offset[start:stop].tolist()
        limits = [key.max_bytes for key in self.keys]
        sizes = self.size[start:stop].tolist()
        places = [(w, o, min(s, limits[w])) for w, o, s in zip(which, offsets, sizes, strict=True) if w >= 0]
        bodies = iter(file.read_many([offset for _, offset, _ in places], [size for _, _, size in places]))
        return [self.keys[w].texts(next(bodies)) if w >= 0 else () for w in which]
