"""Which shards a stream has, of which size, and with how many samples: all that is held of each.

A hundred thousand of them are a few megabytes: addresses as fixed-width bytes, numbers as int64.
"""

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from catlipctl.data.sources.storage import File


class Shards:
    """The files of N shards, and how many samples each is said to hold.

    counts: `[N]`, int64. sizes: `[N]`, bytes.
    """

    def __init__(self, files: Sequence[File], counts: NDArray[np.int64]) -> None:
        self.counts = counts
        self.sizes = np.array([file.size for file in files], np.int64)
        folders: dict[str, int] = {}
        of = [folders.setdefault(file.path.rpartition("/")[0], len(folders)) for file in files]
        self._folders, self._folder = list(folders), np.array(of, np.int32)
        self._names = np.array([file.name.encode(errors="surrogateescape") for file in files])
        self._modified = np.array([file.modified.encode() for file in files])

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, number: int) -> File:
        name = bytes(self._names[number]).decode(errors="surrogateescape")
        path = f"{self._folders[self._folder[number]]}/{name}"
        return File(path, int(self.sizes[number]), bytes(self._modified[number]).decode())

    def identity(self, *, moved: bool) -> str:
        """A hash of names, sizes and counts: all that is known of what a stream holds before it is read.

        moved: the same wherever and whenever the shards were written; without, it changes with that, too.
        """
        found = hashlib.sha256()
        parts = [self._names, self.sizes, self.counts]
        for part in parts if moved else [*parts, self._folder, self._modified]:
            found.update(str(part.dtype).encode() + part.tobytes())
        found.update(b"" if moved else json.dumps(self._folders).encode())
        return found.hexdigest()[:32]
