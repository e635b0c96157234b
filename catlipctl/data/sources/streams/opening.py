"""From the tars of a SOURCE to a source: random access by an index of all, or a stream."""

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catlipctl.data.sample import Need, Source
from catlipctl.data.sources.faults import Faults
from catlipctl.data.sources.storage import File, is_url
from catlipctl.data.sources.streams.cache import GIB, ShardCache
from catlipctl.data.sources.streams.counts import UNKNOWN, Count, known_counts
from catlipctl.data.sources.streams.index import STREAMS, count_missing
from catlipctl.data.sources.streams.shards import Shards
from catlipctl.data.sources.streams.source import StreamSource
from catlipctl.data.sources.tars import TarSource
from catlipctl.errors import CatlipctlError, DataError, UsageError
from catlipctl.files import cache_dir
from catlipctl.progress import SILENT, Progress

MOST_UNASKED = 256
"""Shards that are counted without being asked to; more take hours, which nobody should spend by surprise."""
_WORKERS = 4


@dataclass(frozen=True)
class Streaming:
    """That tars are to be read as a stream. window: shards that the order mixes.

    cache_bytes: how much of this machine's disk may be taken. local: local tars too, as of a slow mount.
    """

    window: int
    cache_bytes: int
    local: bool = False


def open_tars(
    name: str,
    files: Sequence[File],
    *,
    streaming: Streaming | None = None,
    image_key: str | None = None,
    caption_keys: Sequence[str] = (),
    label_key: str | None = None,
    need: Need = "captions",
    strict: bool = False,
    cache: Path,
    progress: Progress = SILENT,
) -> Source:
    """The tars as a source: a stream if it is asked for, and they are remote, or local ones are meant too.

    Raises:
        DataError: no sample can be used, or a stream's shards are uncounted. ReadFailed: one cannot be read.
        UsageError: the cache is too small for a window.
    """
    keys: dict[str, Any] = {
        "image_key": image_key,
        "caption_keys": tuple(caption_keys),
        "label_key": label_key,
    }
    if streaming is None or not (streaming.local or all(is_url(file.path) for file in files)):
        return TarSource(name, files, need=need, strict=strict, cache=cache, progress=progress, **keys)
    room = ShardCache(cache / STREAMS, streaming.cache_bytes)
    _check_writable(room.folder)
    _check_room(np.array([file.size for file in files]), streaming, progress)
    counts = known_counts(files, cache, keys, need, progress)
    unknown = int((counts == UNKNOWN).sum())
    if unknown > MOST_UNASKED:
        raise DataError(
            f"{name}: nobody tells how many samples {unknown:,} of its {len(files):,} shards hold: neither "
            "sizes.json, nor img2dataset's _stats.json, nor a count of ours",
            f"count them once: {_index_command(name, keys, cache)}",
        )
    count = Count(room, keys, need)
    counts = count_missing(files, counts, cache, count, _WORKERS, Faults(), progress)
    there = np.flatnonzero(counts > 0)
    if not len(there):
        raise count.why_none(name, files[0])
    if len(there) < len(files):
        progress.warn(f"{len(files) - len(there):,} of {len(files):,} shards hold no samples: left out")
    shards = Shards([files[number] for number in there.tolist()], counts[there])
    return StreamSource(
        name, shards, room, keys=keys, need=need, strict=strict, window=streaming.window, progress=progress
    )


def _index_command(name: str, keys: Mapping[str, Any], cache: Path) -> str:
    """What counts the very samples that are meant: counts are kept by keys, in the cache folder."""
    words = ["--data", name]
    if keys["image_key"]:
        words += ["--image-key", keys["image_key"]]
    words += [word for key in keys["caption_keys"] for word in ("--caption-key", key)]
    if cache != cache_dir():
        words += ["--cache-dir", str(cache)]
    return shlex.join(["catlipctl", "data", "index", *words])


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise CatlipctlError(
            f"shards cannot be fetched into {folder}: {error.strerror}",
            "name another folder by --cache-dir",
        ) from error


def _check_room(sizes: NDArray[np.int64], streaming: Streaming, progress: Progress) -> None:
    """See that a window has room in the cache, whichever shards an epoch puts into it; better two.

    Raises:
        UsageError: it has not.
    """
    window, bound = min(streaming.window, len(sizes)), streaming.cache_bytes
    largest = int(np.sort(sizes)[-window:].sum())
    if largest > bound:
        raise UsageError(
            f"data.stream_cache_gib: {window:,} shards that are mixed may have {largest / GIB:.4g} GiB, and "
            f"the cache has {bound / GIB:.4g}",
            f"--set data.stream_cache_gib={np.ceil(20 * largest / GIB + 1) / 10:.4g} holds the next one, "
            "too; or a smaller data.window",
        )
    if min(2 * largest, int(sizes.sum())) > bound:
        progress.warn(
            f"data.stream_cache_gib: {bound / GIB:.4g} GiB do not hold two windows of {window:,} shards "
            f"({2 * largest / GIB:.4g} GiB): training waits at the end of each"
        )
