"""Fetching the shards of the coming windows while a run is at work on this one, in the order of the run."""

import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

from catlipctl.data.order import LocalOrder
from catlipctl.data.sample import Source
from catlipctl.data.sources.concatenation import Concatenation
from catlipctl.data.sources.storage import File
from catlipctl.data.sources.streams.source import StreamSource

THREADS = 4
"""Shards that a process fetches at once."""
BEAT = 10.0
"""Seconds between two times that what is needed is touched; less than the cache waits before it drops it."""
TELL_AFTER = 10.0
"""Seconds for which a window may be incomplete before it is told."""
MOST_WINDOWS = 16
"""Windows ahead, at most, where the cache has room for more."""
_SLACK = 2.0
_AFTER_FAILURE = 30.0
_AGAIN = 0.5


class _Wanted(NamedTuple):
    stream: StreamSource
    shard: int
    file: File


class Ahead:
    """What fetches the shards of a source's streams, ahead of the step; nothing where it has none."""

    def __init__(self, source: Source, order: LocalOrder) -> None:
        self._source, self._order = source, order
        self._window = -1
        self._wanted: list[_Wanted] = []
        self._now = 0
        self._lock = threading.Lock()
        self._under_way: set[File] = set()
        self._not_before: dict[File, float] = {}
        self._begun = self._beaten = 0.0
        self._bytes = 0
        self._over = threading.Event()
        self._streamed = any(streams(source))

    def begin(self, position: int) -> None:
        """Start, for a run that is at a position."""
        if self._streamed and self._window < 0:
            self.at(position)
            for _ in range(THREADS):
                threading.Thread(target=self._work, daemon=True).start()

    def at(self, position: int) -> None:
        """The run has come to a position."""
        if not self._streamed or (window := self._order.window_at(position)) == self._window:
            return
        first = self._wanted_in(window)
        wanted = dict.fromkeys(first)
        size = sum(one.file.size for one in first)
        for coming in range(window + 1, window + 1 + MOST_WINDOWS):
            # The next epoch's may hold the same shards.
            more = [one for one in self._wanted_in(coming) if one not in wanted]
            size += sum(one.file.size for one in more)
            # Windows of sources beside the streams have no shard to fetch.
            if size > min((one.stream.cache.bound for one in [*first, *more]), default=0):
                break
            wanted |= dict.fromkeys(more)
        with self._lock:
            left = [one for one in self._wanted[: self._now] if one not in wanted]
            self._window, self._wanted, self._now = window, list(wanted), len(first)
            self._begun, self._bytes = time.monotonic(), 0
        for one in left:
            one.stream.cache.release(one.file, BEAT + _SLACK)
        self._beat()

    def end(self) -> None:
        """Stop, as soon as what is under way is done."""
        self._over.set()

    def _wanted_in(self, window: int) -> list[_Wanted]:
        found = []
        for index in self._order.first_samples(window):
            place = _stream_of(self._source, index)
            if place is not None:
                stream, shard = place
                found.append(_Wanted(stream, shard, stream.file(shard)))
        return list(dict.fromkeys(found))

    def _work(self) -> None:
        while not self._over.is_set():
            if time.monotonic() - self._beaten > BEAT:
                self._beat()
            one = self._next()
            if one is None:
                self._over.wait(_AGAIN)
            else:
                self._get(one)

    def _get(self, one: _Wanted) -> None:
        """Fetch a shard, unless another process does, or there is no room yet."""
        again = _AGAIN
        try:
            if one.stream.cache.has(one.file) or one.stream.cache.fetch_ahead(one.file, self._told_of):
                one.stream.look_at(one.shard)
        except Exception as error:  # whoever needs the shard meets the error, and stops the run
            again = _AFTER_FAILURE
            one.stream.progress.note(f"not fetched ahead: {error}")
        with self._lock:
            self._not_before[one.file] = time.monotonic() + again
            self._under_way.discard(one.file)

    def _told_of(self, size: int) -> None:
        self._bytes += size
        if time.monotonic() - self._beaten > BEAT:
            self._beat()

    def _next(self) -> _Wanted | None:
        """The first shard that is not here, or was not looked at, and that no thread of us is at."""
        with self._lock:
            for one in self._wanted:
                waits = self._not_before.get(one.file, 0.0) > time.monotonic()
                if waits or one.file in self._under_way or one.stream.has(one.shard):
                    continue
                self._under_way.add(one.file)
                return one
        return None

    def _beat(self) -> None:
        """Touch what is needed, and tell where the run may be waiting."""
        self._beaten = time.monotonic()
        with self._lock:
            wanted, now = list(self._wanted), self._now
        # The last ones first: where room is short those are dropped that are needed last.
        for one in reversed(wanted):
            one.stream.cache.touch(one.file)
        here = sum(one.stream.has(one.shard) for one in wanted[:now])
        waited = self._beaten - self._begun
        if here < now and waited > TELL_AFTER:
            rate = self._bytes / waited / 1e6
            wanted[0].stream.progress.note(
                f"fetching shards: {here} of the {now} that are mixed now are here ({rate:.1f} MB/s)"
            )


def streams(source: Source) -> Iterator[StreamSource]:
    """The streams that a source is made of."""
    for part in [part.source for part in source.parts] if isinstance(source, Concatenation) else [source]:
        if isinstance(part, StreamSource):
            yield part


def _stream_of(source: Source, index: int) -> tuple[StreamSource, int] | None:
    """The stream and its shard in which a sample lies; None where it is in no stream."""
    if isinstance(source, Concatenation):
        part, number = source.place(index)
        source, index = part.source, part.sample(number)
    return (source, source.shard_of(index)) if isinstance(source, StreamSource) else None
