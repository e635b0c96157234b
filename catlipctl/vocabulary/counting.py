"""Counting captions' label keys (CatLIP 3.1): shard by shard, or a source at once."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from catlipctl import files, labels
from catlipctl.data.sample import Source
from catlipctl.data.sources.faults import Faults
from catlipctl.errors import DataError, Stopped
from catlipctl.progress import SILENT, Progress, Task
from catlipctl.vocabulary import engines
from catlipctl.vocabulary.counts import Counts, Sidecars, count
from catlipctl.vocabulary.engines import Engine, Tick
from catlipctl.vocabulary.pruning import limits, pruned
from catlipctl.vocabulary.vocabulary import Counted, Vocabulary

if TYPE_CHECKING:
    from catlipctl.data.caption_shards import CaptionShard

REPORT_EVERY = 1000


class Tally(NamedTuple):
    """The counts of some shards: how many shards were counted now, and their captions, in how many seconds;
    how many had been counted before.
    """

    counts: Counts
    counted: int
    captions: int
    seconds: float
    kept: int


def count_shards(
    shards: "Sequence[CaptionShard]",
    extractor: str = "corenet",
    *,
    workers: int | None = None,
    engine: Engine = "processes",
    strict: bool = False,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Tally:
    """The counts of all shards, the same for any number of workers, engine and order of shards.

    The counts of each shard are kept in the cache folder as soon as it is finished, so that another call does
    not count it again. One worker is this process; more are processes of their own.

    Raises:
        DataError: there are no captions; or `strict`, and a shard is not whole.
        OutOfMemory: a worker was killed. MachineError: what the extractor or the engine needs is missing.
    """
    sidecars = Sidecars(cache_dir or files.cache_dir(), labels.extractor(extractor))
    total = Counts()

    def add(counts: Counts) -> None:
        if strict:
            counts.faults.refuse_damaged_shards()
        total.add(counts)

    missing = []
    for shard, found in _kept(shards, sidecars, progress):
        if found is None:
            missing.append(shard)
        else:
            add(found)
    start, before = time.monotonic(), total.captions
    kept = len(shards) - len(missing)
    try:
        if missing:
            with progress.task("counting", unit="captions") as task:
                meter = Meter(task, missing)
                work = partial(packed_counts, extractor)
                for shard, packed in engines.run(engine, work, missing, workers, meter.tick):
                    counts = Counts.unpack(packed)
                    sidecars.keep(shard, packed, counts)
                    kept += 1
                    meter.finish(shard, counts.captions)
                    add(counts)
    except (KeyboardInterrupt, Stopped):
        if not sidecars.failure:
            progress.note(f"stopped: the counts of {kept:,} of {len(shards):,} shards are kept; run it again")
        raise
    if sidecars.failure:
        progress.warn(f"counts are not kept: {sidecars.failure}")
    total.faults.tell(progress)
    if not total.captions:
        from catlipctl.data.caption_shards import no_captions

        raise no_captions(shards, total.faults)
    seconds = time.monotonic() - start
    return Tally(total, len(missing), total.captions - before, seconds, len(shards) - len(missing))


def packed_counts(extractor: str, shard: "CaptionShard", tick: Tick) -> bytes:
    """The packed counts of a shard: what a worker does, wherever it runs."""
    found = Faults()
    return count(shard.read(found), labels.extractor(extractor), found, tick).pack()


def _kept(
    shards: "Sequence[CaptionShard]", sidecars: Sidecars, progress: Progress
) -> "Iterator[tuple[CaptionShard, Counts | None]]":
    """Each shard with its counts of an earlier call, or None."""
    known = [shard for shard in shards if shard in sidecars]
    if not known:
        yield from ((shard, None) for shard in shards)
        return
    with progress.task("reading kept counts", len(known), "shards") as task:
        for shard in shards:
            if shard in sidecars:
                yield shard, sidecars.load(shard)
                task.advance()
            else:
                yield shard, None


def build(
    source: Source,
    *,
    extractor: str = "corenet",
    threshold: int | None = None,
    max_size: int | None = None,
    count: Counted | None = None,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Vocabulary:
    """The vocabulary of a source that is open, its weights included: what `pretrain` counts for itself.

    threshold, max_size, count, and errors are those of `pruned`.
    """
    limits(threshold, max_size)
    counts = count_source(source, extractor, cache_dir, progress)
    if not counts.captions:
        raise DataError(
            f"{source.name} has no captions", "say where they are: --caption-key txt, json:caption, a column"
        )
    return pruned(
        counts, extractor=extractor, source=source.name, threshold=threshold, max_size=max_size, count=count
    )


class _Whole(NamedTuple):
    """A source that is counted at once."""

    identity: tuple[str, str, int]


def count_source(
    source: Source,
    extractor: str = "corenet",
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Counts:
    """The counts of a source's captions, with the faults that its opening found.

    They are kept in the cache folder: another run on the same pairs, by whatever threshold, does not count
    them again.
    """
    extract = labels.extractor(extractor)
    sidecars = Sidecars(cache_dir or files.cache_dir(), extract)
    whole = _Whole(("source", source.fingerprint, len(source)))
    if whole in sidecars and (kept := sidecars.load(whole)) is not None:
        return kept
    found = Faults()
    for kind, number in source.faults.items():
        found.add(kind, number)
    with progress.task("labels", total=len(source), unit="samples") as task:
        counts = count(_ticking(source.captions(), task), extract, found)
    sidecars.keep(whole, counts.pack(), counts)
    return counts


def _ticking(samples: Iterator[tuple[str, ...]], task: Task) -> Iterator[tuple[str, ...]]:
    number = 0
    for number, sample in enumerate(samples, start=1):
        yield sample
        if number % REPORT_EVERY == 0:
            task.advance(REPORT_EVERY)
    task.advance(number % REPORT_EVERY)


class Meter:
    """Progress in captions, whose total is guessed from the bytes of the shards that are finished."""

    def __init__(self, task: Task, shards: "Sequence[CaptionShard]") -> None:
        self._task, self._shards = task, len(shards)
        self._bytes = sum(shard.size for shard in shards)
        self._finished = self._finished_bytes = self._captions = 0
        self._ticked = self._shown = 0

    def tick(self, captions: int) -> None:
        """So many captions more were counted."""
        self._ticked += captions
        self._show()

    def finish(self, shard: "CaptionShard", captions: int) -> None:
        """A shard is finished."""
        self._finished += 1
        self._finished_bytes += shard.size
        self._captions += captions
        self._show()
        if self._finished == self._shards:
            self._task.expect(self._shown)
        elif self._finished_bytes:
            self._task.expect(max(self._captions * self._bytes // self._finished_bytes, self._shown + 1))

    def _show(self) -> None:
        # An engine that cannot tick is known by the shards that it has finished.
        done = max(self._ticked, self._captions)
        self._task.advance(done - self._shown, shards=f"{self._finished:,}/{self._shards:,}")
        self._shown = done
