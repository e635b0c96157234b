"""`data index`: the samples of each shard, counted in parallel, and kept as they are counted."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from catlipctl import files as file_system
from catlipctl.data.sample import Need
from catlipctl.data.sources.faults import Faults
from catlipctl.data.sources.locate import locate
from catlipctl.data.sources.patterns import split_weight
from catlipctl.data.sources.storage import File
from catlipctl.data.sources.streams.cache import GIB, ShardCache
from catlipctl.data.sources.streams.counts import UNKNOWN, Count, Kept, known_counts
from catlipctl.errors import DataError, Stopped
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Result

STREAMS = "streams"
"""Of the cache folder: where shards are fetched to."""
MOST_WORKERS = 32
CACHE_BYTES = 64 * GIB


class IndexedSource(BaseModel):
    """A source's shards and their samples: those that can be used.

    counted, kept: shards counted now, and by earlier calls. empty: shards without a sample that can be used.
    smallest, largest: samples of a shard.
    """

    source: str
    shards: int
    bytes: int
    samples: int
    counted: int
    kept: int
    empty: int
    smallest: int
    largest: int


class Indexed(Result):
    """What `data index` counted. faults: of the shards that were counted now, by kind."""

    sources: list[IndexedSource]
    workers: int
    seconds: float
    faults: dict[str, int]


def index_source(
    specs: Sequence[str],
    *,
    image_key: str | None = None,
    caption_keys: Sequence[str] = (),
    label_key: str | None = None,
    need: Need = "captions",
    workers: int | None = None,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Indexed:
    """Count the shards that no earlier call has counted. workers: processes (default: two for each core).

    Raises:
        DataError: a source is not of tars. ReadFailed: a shard cannot be read; what was counted is kept.
    """
    cache = cache_dir or file_system.cache_dir()
    keys = {"image_key": image_key, "caption_keys": tuple(caption_keys), "label_key": label_key}
    count = Count(ShardCache(cache / STREAMS, CACHE_BYTES), keys, need)
    workers = workers or min(2 * (os.cpu_count() or 1), MOST_WORKERS)
    begun, faults, sources = time.monotonic(), Faults(), []
    for spec in specs:
        text = split_weight(spec)[0]
        files = tars_of(text, cache, progress)
        before = known_counts(files, cache, keys, need, said=False)
        counts = count_missing(files, before, cache, count, workers, faults, progress)
        if not counts.any():
            raise count.why_none(text, files[0])
        missing = int((before == UNKNOWN).sum())
        sources.append(
            IndexedSource(
                source=text,
                shards=len(files),
                bytes=sum(file.size for file in files),
                samples=int(counts.sum()),
                counted=missing,
                kept=len(files) - missing,
                empty=int((counts == 0).sum()),
                smallest=int(counts.min()),
                largest=int(counts.max()),
            )
        )
    faults.tell(progress)
    seconds = round(time.monotonic() - begun, 3)
    return Indexed(sources=sources, workers=workers, seconds=seconds, faults=dict(faults.counts()))


def count_missing(
    files: Sequence[File],
    known: NDArray[np.int64],
    cache: Path,
    count: Count,
    workers: int,
    faults: Faults,
    progress: Progress,
) -> NDArray[np.int64]:
    """The counts of all shards, of which some are known; each is kept as soon as it is there.

    faults: where what is wrong with the others goes.
    """
    missing = np.flatnonzero(known == UNKNOWN).tolist()
    counts, kept = known.copy(), Kept(cache, count.keys, count.need)
    if not missing:
        return counts
    from catlipctl.data.workers import ahead  # with torch, which takes seconds

    done = 0
    found = ahead(count, (files[number] for number in missing), workers=min(workers, len(missing)))
    try:
        with progress.task("counting samples", len(files), "shards", len(files) - len(missing)) as task:
            for number, (samples, wrong) in zip(missing, found, strict=True):
                counts[number] = samples
                kept.add([(files[number], samples)], "counted")
                for kind, times in wrong.items():
                    faults.add(kind, times, files[number].path)
                done += 1
                task.advance()
    except (KeyboardInterrupt, Stopped):
        there = len(files) - len(missing) + done
        progress.note(f"stopped: the counts of {there:,} of {len(files):,} shards are kept; run it again")
        raise
    if kept.failure is not None:
        progress.warn(f"counts are not kept: {kept.failure}")
    return counts


def tars_of(spec: str, cache: Path, progress: Progress) -> Sequence[File]:
    """The tars of a SOURCE.

    Raises:
        DataError: it is of another kind, or not there.
    """
    if spec.startswith("hf:") and not spec.startswith("hf://"):
        from catlipctl.data.sources.hub import locate_hub

        located = locate_hub(spec)
    else:
        located = locate(spec, cache, progress)
    if located.kind != "tar":
        raise DataError(f"{spec} holds no tars: it has no shards to be counted", "name it by --data as it is")
    return located.files
