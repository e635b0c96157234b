"""How many samples each shard holds, before any of them is fetched: as it was written, or as we counted.

img2dataset leaves `00000_stats.json` beside `00000.tar`; webdataset and open_clip read a `sizes.json`, from
names to numbers. What we have counted ourselves comes first: it is what can be used of a shard. It is kept in
the cache folder, a line a shard, as soon as it is known.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from catlipctl.data.sample import Need
from catlipctl.data.sources.faults import EMPTY_SHARD
from catlipctl.data.sources.storage import File, ReadFailed, is_url, read_small
from catlipctl.data.sources.streams.cache import ShardCache
from catlipctl.data.sources.tars import TarSource
from catlipctl.errors import DataError
from catlipctl.progress import SILENT, Progress

UNKNOWN = -1
SIZES = "sizes.json"
_STATS = "_stats.json"
_REQUESTS = 32
_AT_ONCE = 1024
_MOST_BYTES = 64 * 2**20

Origin = Literal["counted", "stats"]
Identity = tuple[str, int, str]


class Counted(NamedTuple):
    """What is in a shard: usable samples, and what is wrong with it, by kind."""

    samples: int
    faults: Mapping[str, int]


@dataclass(frozen=True)
class Count:
    """Counts the usable samples of a shard, which is fetched for it and dropped again where it is remote.

    keys: image_key, caption_keys and label_key of `TarSource`. Picklable.
    """

    cache: ShardCache
    keys: Mapping[str, Any]
    need: Need

    def __call__(self, file: File) -> Counted:
        """Raises ReadFailed where the shard cannot be read; one without samples has 0."""
        if not is_url(file.path):
            return self._of(file.path, file)
        there = self.cache.has(file)
        try:
            while True:
                try:
                    return self._of(file.path, self.cache.fetch(file))
                except ReadFailed:
                    if self.cache.has(file):
                        raise
        finally:
            if not there:
                self.cache.drop(file)

    def why_none(self, name: str, file: File) -> DataError:
        """Why a source has no sample: what a shard says of itself, or that it has none."""
        local = self.cache.fetch(file) if is_url(file.path) else file
        try:
            with TemporaryDirectory() as folder:
                TarSource(name, [local], cache=Path(folder), need=self.need, **self.keys)
        except DataError as error:
            return error
        return DataError(f"{name}: its shards are said to hold no samples", "mend its sizes.json or stats")

    def _of(self, name: str, local: File) -> Counted:
        with TemporaryDirectory() as folder:
            try:
                tar = TarSource(name, [local], cache=Path(folder), need=self.need, **self.keys)
            except DataError:
                return Counted(0, {EMPTY_SHARD: 1})
            return Counted(len(tar), dict(tar.faults))


class Kept:
    """Counts that are kept in the cache folder, a file for the shards of each folder.

    They are of shards as they were (name, size, time of writing), and of the keys that choose samples.
    """

    def __init__(self, cache: Path, keys: Mapping[str, Any], need: Need) -> None:
        self._cache, self._chosen = cache / "shard-counts", [sorted(keys.items()), need]
        self.failure: OSError | None = None
        """Why counts could not be kept."""

    def path(self, folder: str) -> Path:
        """Where those of the shards in a folder are kept."""
        identity = json.dumps([folder, *self._chosen])
        return self._cache / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.jsonl"

    def read(self, folder: str) -> dict[Origin, dict[Identity, int]]:
        """By origin: name, size and time of writing -> samples. A line that a kill has torn is left out."""
        found: dict[Origin, dict[Identity, int]] = {"counted": {}, "stats": {}}
        try:
            lines = self.path(folder).read_text(errors="replace").splitlines()
        except OSError:
            return found
        for line in lines:
            try:
                name, size, modified, samples, origin = json.loads(line)
                found[origin][name, size, modified] = natural(samples)
            except (ValueError, TypeError, KeyError):
                continue
        return found

    def add(self, counts: Sequence[tuple[File, int]], origin: Origin) -> None:
        """Keep some of one folder: appended at once, so that two who count do not undo each other's work."""
        path = self.path(_folder(counts[0][0]))
        rows = [[*identity(file), samples, origin] for file, samples in counts]
        # On a line of its own, whatever a kill has left of the last.
        body = "".join(f"\n{json.dumps(row)}" for row in rows) + "\n"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(descriptor, body.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            self.failure = error


def known_counts(
    files: Sequence[File],
    cache: Path,
    keys: Mapping[str, Any],
    need: Need,
    progress: Progress = SILENT,
    *,
    said: bool = True,
) -> NDArray[np.int64]:
    """The samples of each shard, `[N]`, `UNKNOWN` where nothing tells. said: by others, too.

    Raises:
        ReadFailed: what is there cannot be read. DataError: it is no `sizes.json`.
    """
    counts, kept = np.full(len(files), UNKNOWN, np.int64), Kept(cache, keys, need)
    folders: dict[str, list[int]] = {}
    for number, file in enumerate(files):
        folders.setdefault(_folder(file), []).append(number)
    for folder, numbers in folders.items():

        def take(
            found: Mapping[Any, int], key: Callable[[File], Any], numbers: list[int] = numbers
        ) -> list[int]:
            """Those that `found` has; which are still unknown."""
            for number in numbers:
                if counts[number] == UNKNOWN:
                    counts[number] = found.get(key(files[number]), UNKNOWN)
            return [number for number in numbers if counts[number] == UNKNOWN]

        before = kept.read(folder)
        left = take(before["counted"], identity)
        if said and left:
            left = take(_sizes_in(folder), lambda file: file.name)
        if said and left and (left := take(before["stats"], identity)):
            fresh = _stats_of([files[number] for number in left], progress)
            take(fresh, lambda file: file)
            if fresh:
                kept.add(list(fresh.items()), "stats")
    if kept.failure is not None:
        progress.warn(f"counts are not kept: {kept.failure}")
    return counts


def identity(file: File) -> Identity:
    """What a shard in a folder is known by."""
    return file.name, file.size, file.modified


def _folder(file: File) -> str:
    return file.path.rpartition("/")[0]


def _sizes_in(folder: str) -> dict[str, int]:
    """What a `sizes.json` says; nothing where there is none."""
    path = f"{folder}/{SIZES}"
    body = read_small(path, _MOST_BYTES)
    if body is None:
        return {}
    try:
        return {str(name): natural(samples) for name, samples in json.loads(body).items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} does not say how many samples each shard holds: {error}",
            'it holds {"00000.tar": 9876, ...}; mend it, or take it away',
        ) from error


def _stats_of(files: Sequence[File], progress: Progress) -> dict[File, int]:
    """What img2dataset has left beside the shards; nothing where neither the first nor the last has any."""
    if _stats(files[0]) is None and _stats(files[-1]) is None:
        return {}
    found: dict[File, int] = {}
    with progress.task("reading stats of shards", len(files), "shards") as task:
        for file, samples in zip(files, _in_order(files), strict=True):
            task.advance()
            if samples is not None:
                found[file] = samples
    return found


def _in_order(files: Sequence[File]) -> Iterator[int | None]:
    with ThreadPoolExecutor(_REQUESTS) as pool:
        for start in range(0, len(files), _AT_ONCE):
            yield from pool.map(_stats, files[start : start + _AT_ONCE])


def _stats(file: File) -> int | None:
    if not file.path.endswith(".tar"):  # a signed URL, which is good for the shard alone
        return None
    body = read_small(file.path.removesuffix(".tar") + _STATS, _MOST_BYTES)
    try:
        return None if body is None else natural(json.loads(body)["successes"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def natural(number: Any) -> int:
    """A number of samples. Raises ValueError where it is none."""
    if type(number) is not int or number < 0:
        raise ValueError(f"{str(number)[:40]} is no number of samples")
    return number
