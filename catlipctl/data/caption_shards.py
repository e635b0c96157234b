"""A SOURCE's captions cut into shards, each to be read, alone and anywhere, by whoever counts it.

No image is read or decoded. A hundred thousand shards cost the caller a stat each (a server, a request).
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa

from catlipctl.data.sources import hub
from catlipctl.data.sources.faults import Faults
from catlipctl.data.sources.listing_captions import ListingCaptions
from catlipctl.data.sources.locate import NO_CAPTIONS_HINT, Located, locate, look_at_all
from catlipctl.data.sources.parquet_captions import ParquetCaptions, parquet_shards
from catlipctl.data.sources.patterns import split_weight
from catlipctl.data.sources.storage import File, look_at
from catlipctl.data.sources.tar import TarSource
from catlipctl.data.sources.tar_captions import TarCaptions
from catlipctl.errors import DataError, UsageError
from catlipctl.files import cache_dir as default_cache_dir
from catlipctl.progress import SILENT, Progress


class CaptionShard(Protocol):
    """A part of a source that is counted at once; frozen and picklable.

    name: for people. size: about its bytes. identity: changes with path, size, mtime, keys and part.
    """

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def identity(self) -> str: ...

    def read(self, found: Faults) -> Iterator[tuple[str, ...]]:
        """The captions of each sample in order, '' where one is empty; a few are held at a time.

        What is left out or mended is added to `found`, which is complete when the reading is over. A shard
        that cannot be read is no error, but a fault.

        Raises:
            DataError: it has no caption column.
        """
        ...


def caption_shards(
    specs: Sequence[str | Path],
    *,
    image_key: str | None = None,
    caption_keys: Sequence[str] = (),
    captions_from: Literal["parquet"] | None = None,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> list[CaptionShard]:
    """The shards of all SOURCEs, the largest first, so that workers end together; each only once.

    Args:
        caption_keys: extensions, `json:FIELD`s or columns; the captions of all are read.
        captions_from: `parquet` reads `NAME.parquet` instead of each `NAME.tar`, as img2dataset leaves it.

    Raises:
        DataError: a source is not there, or its first shard has no such columns.
        UsageError: a source has a weight, or cannot be read as one.
    """
    cache = cache_dir or default_cache_dir()
    shards: list[CaptionShard] = []
    for spec in map(str, specs):
        text, weight = split_weight(spec)
        if weight != 1:
            raise UsageError(
                f"{spec} has a weight, but a vocabulary counts each caption once",
                f"leave it out: {text}; `pretrain --data` takes weights",
            )
        if text.startswith("hf:") and not text.startswith("hf://"):
            located = _on_the_hub(text)
        else:
            located = locate(text, cache, progress)
        shards += _cut(text, located, image_key, tuple(caption_keys), captions_from, cache)
    once = {shard.identity: shard for shard in shards}
    if len(once) < len(shards):
        again = len(shards) - len(once)
        progress.warn(f"{again:,} of {len(shards):,} shards had been named before: each is counted once")
    ordered = sorted((-shard.size, identity) for identity, shard in once.items())
    return [once[identity] for _, identity in ordered]


def no_captions(shards: Sequence[CaptionShard], faults: Faults) -> DataError:
    """Why no shard has a caption: a tar tells what it holds instead."""
    for shard in shards:
        if isinstance(shard, TarCaptions) and not faults.damaged:
            try:
                TarSource(
                    shard.name,
                    [shard.file],
                    image_key=shard.image_key,
                    caption_keys=shard.caption_keys,
                    cache=shard.cache,
                )
            except DataError as error:
                return error
    return DataError(
        f"no captions in {len(shards):,} shard{'s' * (len(shards) != 1)}" + (f": {faults}" if faults else ""),
        "look at the shards, or say where captions are: --caption-key txt, json:caption, a column",
    )


def _cut(
    spec: str,
    located: Located,
    image_key: str | None,
    caption_keys: tuple[str, ...],
    captions_from: Literal["parquet"] | None,
    cache: Path,
) -> Sequence[CaptionShard]:
    """One SOURCE's shards."""
    if located.kind == "folder":
        raise DataError(
            f"{spec} is a folder without captions: it has no tars, no Parquet and no metadata.csv",
            NO_CAPTIONS_HINT,
        )
    if located.kind == "tar" and captions_from is None:
        return [TarCaptions(file, image_key, caption_keys, cache) for file in located.files]
    if located.kind == "listing":
        if captions_from:
            raise UsageError(
                f"{spec} is a listing: --captions-from {captions_from} wants img2dataset's tars or Parquet",
                f"leave out --captions-from {captions_from}",
            )
        listings = [ListingCaptions(file, image_key, caption_keys) for file in located.files]
        _check_first(listings)
        return listings
    files = _beside(located.files) if located.kind == "tar" else located.files
    tables = [shard for file in files for shard in parquet_shards(file, caption_keys)]
    _check_first(tables)
    return tables


def _check_first(shards: Sequence[ParquetCaptions | ListingCaptions]) -> None:
    """See that the first shard that can be read has the columns, rather than fail in hours."""
    for shard in shards:
        with suppress(OSError, pa.ArrowException):
            shard.check()
            return


def _beside(tars: Sequence[File]) -> list[File]:
    """NAME.parquet of each NAME.tar; one that is missing is a shard that cannot be read."""
    paths = [file.path.removesuffix(".tar") + ".parquet" for file in tars]
    try:
        return look_at_all(paths)
    except OSError:
        return [_look_or_miss(path) for path in paths]


def _look_or_miss(path: str) -> File:
    try:
        return look_at(path)
    except OSError:
        return File(path, 0, "missing")


def _on_the_hub(spec: str) -> Located:
    name = hub.HubName.parse(spec)
    tars = hub.tar_urls(name)
    if tars:
        return Located("tar", look_at_all(tars))
    tables = hub.file_urls(name, ".parquet")
    if name.config:
        tables = [url for url in tables if f"/{name.config}/" in url]
    if not tables:
        raise DataError(
            f"{spec} has neither tars nor Parquet",
            f"the Hub keeps a copy in Parquet of many datasets: hf:{name.repository}@refs/convert/parquet",
        )
    return Located("parquet", look_at_all(tables))
