"""Tars that are read as a stream: whole shard after whole shard through a cache, sample `i` by arithmetic.

Nothing is known of a shard but its size and how many samples it is said to hold. It is indexed when it is
here. What it lacks then is made up for by its own samples: the same for all runs, processes and epochs.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from catlipctl.data.sample import Labels, Need, Sample, compact
from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.faults import Faults
from catlipctl.data.sources.storage import File, ReadFailed, close_files
from catlipctl.data.sources.streams.cache import ShardCache
from catlipctl.data.sources.streams.shards import Shards
from catlipctl.data.sources.tars import TarSource
from catlipctl.errors import DataError
from catlipctl.progress import SILENT, Progress

T = TypeVar("T")
MOST_EMPTY = 100
"""So many shards in a row without a sample are no accident."""
_LOOKED_AT = 3
_TRIES = 10


class StreamSource:
    """Samples in storage order of the shards, each shard with as many as `shards.counts` says.

    keys: image_key, caption_keys and label_key of `TarSource`. window: shards whose samples are mixed, and
    which are kept open.

    Raises:
        DataError: the first shards have no usable sample; or `strict`, and one is not whole.
        ReadFailed: one cannot be read.
    """

    def __init__(
        self,
        name: str,
        shards: Shards,
        cache: ShardCache,
        *,
        keys: Mapping[str, Any],
        need: Need,
        strict: bool,
        window: int,
        progress: Progress = SILENT,
    ) -> None:
        self.name, self.cache, self.window = name, cache, window
        self.content = shards.identity(moved=True)
        """What it holds, as far as is known without reading it."""
        identity = [shards.identity(moved=False), sorted(keys.items()), need]
        self.fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
        self.progress = progress
        self._shards, self._ends = shards, np.cumsum(shards.counts)
        self._options: dict[str, Any] = {**keys, "need": need, "strict": strict}
        self._opened: dict[int, TarSource] = {}
        self._seen = np.zeros(len(shards), np.bool_)
        self._found = Faults()
        self._check_first()

    def __getstate__(self) -> dict[str, Any]:
        # To a worker: what is open stays here, and so does who is told.
        return {**self.__dict__, "_opened": {}, "progress": SILENT}

    @property
    def shards(self) -> int:
        """How many tars there are."""
        return len(self._shards)

    @property
    def shard_sizes(self) -> NDArray[np.int64]:
        """How many samples each tar is said to hold, `[N]`."""
        return self._shards.counts

    @property
    def faults(self) -> Mapping[str, int]:
        """What was passed over in the shards that this process has opened so far, by kind."""
        return self._found.counts()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        shard = self.shard_of(index)
        within = index - int(self._ends[shard] - self._shards.counts[shard])
        return self._read(shard, lambda tar: tar[within % len(tar)])

    def captions(self) -> Iterator[tuple[str, ...]]:
        """The captions of all samples in storage order; each shard is fetched for it."""
        for shard in range(len(self._shards)):
            found = self._read(shard, lambda tar: list(tar.captions()))
            yield from (found[row % len(found)] for row in range(self._shards.counts[shard]))

    def labels(self) -> list[Labels]:
        """The classes of every sample in storage order; each shard is fetched for it."""
        labels: list[Labels] = []
        for shard in range(len(self._shards)):
            found = self._read(shard, TarSource.labels)
            labels += (found[row % len(found)] for row in range(self._shards.counts[shard]))
        return compact(labels)

    def shard_of(self, index: int) -> int:
        """The shard in which a sample lies."""
        return int(np.searchsorted(self._ends, index, side="right"))

    def file(self, shard: int) -> File:
        """Where a shard lies."""
        return self._shards[shard]

    def has(self, shard: int) -> bool:
        """Whether a shard is in the cache, and this process has looked at it."""
        return bool(self._seen[shard]) and self.cache.has(self.file(shard))

    def look_at(self, shard: int) -> None:
        """Index a shard that is in the cache, for all processes; what is wrong with it is counted."""
        if self._seen[shard]:
            return
        try:
            self._note(shard, self._tar(shard, self.cache.local(self.file(shard))))
        except DataError:
            self._note(shard, None)

    def _read(self, shard: int, read: Callable[[TarSource], T]) -> T:
        """What `read` gives of a shard's tar; of the next one's where it has no sample at all."""
        for step in range(MOST_EMPTY + 1):
            number = (shard + step) % len(self._shards)
            for _ in range(_TRIES):
                local = None if number in self._opened else self.cache.fetch(self.file(number))
                try:
                    tar = self._open(number, local)
                    if tar is None:
                        break
                    return read(tar)
                except ReadFailed:
                    # Dropped from the cache meanwhile: this process was slow, or the cache is small.
                    self._opened.pop(number, None)
                    if self.cache.has(self.file(number)):
                        raise
            else:
                raise DataError(
                    f"{self.file(number).path} is dropped from the cache again and again before it is read",
                    "raise data.stream_cache_gib, or lower data.window",
                )
        raise DataError(
            f"{self.name}: over {MOST_EMPTY} shards without a sample from {self.file(shard).path} on",
            "look at one of them with: catlipctl data inspect SHARD",
        )

    def _open(self, shard: int, local: File | None) -> TarSource | None:
        """A shard's tar, open before or from its local file; None where no sample of it can be used."""
        if (tar := self._opened.get(shard)) is not None:
            return tar
        try:
            tar = self._tar(shard, local or self.cache.local(self.file(shard)))
        except DataError as error:
            if self._options["strict"]:
                raise error
        self._note(shard, tar)
        if tar is not None:
            self._forget()
            self._opened[shard] = tar
        return tar

    def _tar(self, shard: int, local: File) -> TarSource:
        folder = self.cache.place(self.file(shard))
        tar = TarSource(self.file(shard).path, [local], cache=folder, **self._options)
        lacking = int(self._shards.counts[shard]) - len(tar)
        if lacking > 0 and self._options["strict"]:
            raise DataError(
                f"{tar.name} holds {len(tar):,} samples, not the {len(tar) + lacking:,} that were counted",
                "count it again with: catlipctl data index; or leave out --strict",
            )
        return tar

    def _note(self, shard: int, tar: TarSource | None) -> None:
        """Count what is wrong with a shard; the first of a kind is told."""
        if self._seen[shard]:
            return
        self._seen[shard] = True
        wrong, first = Faults(), Faults()
        where = self.file(shard).path
        for kind, count in (tar.faults if tar else {kinds.EMPTY_SHARD: 1}).items():
            wrong.add(kind, count, where)
        more = (len(tar) - int(self._shards.counts[shard])) if tar else 0
        wrong.add(kinds.BEYOND if more > 0 else kinds.MISSING, abs(more), where)
        for kind, count in wrong.counts().items():
            if not self._found[kind]:
                first.add(kind, count, where)
        self._found.merge(wrong)
        first.tell(self.progress)

    def _forget(self) -> None:
        """Close shards of windows that are over, whether or not they are still in the cache."""
        most, before = self.window + 1, len(self._opened)
        with suppress(KeyError, RuntimeError, StopIteration):  # another thread may do it, too
            while len(self._opened) > most:
                del self._opened[next(iter(self._opened))]
        if len(self._opened) < before:
            close_files()

    def _check_first(self) -> None:
        """See by the first shards that the keys are right: an error that all of them have is raised."""
        for shard in range(min(_LOOKED_AT, len(self._shards))):
            try:
                if self._open(shard, self.cache.fetch(self.file(shard))) is not None:
                    return
            except DataError as error:
                if self._options["strict"]:
                    raise error
        self._tar(0, self.cache.fetch(self.file(0)))
