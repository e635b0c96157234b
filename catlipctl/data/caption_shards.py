"""A SOURCE's captions cut into shards, each to be read, alone and anywhere, by whoever counts it.

No image is read or decoded. A hundred thousand shards cost the caller a stat each (a server, a request).
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from catlipctl.data.sources.faults import Faults
from catlipctl.data.sources.hub import locate_hub
from catlipctl.data.sources.listing import ListingCaptions
from catlipctl.data.sources.locate import Located, locate, look_at_all
from catlipctl.data.sources.parquet import MISSING, ParquetCaptions, parquet_shards
from catlipctl.data.sources.patterns import split_weight
from catlipctl.data.sources.saved import SavedCaptions
from catlipctl.data.sources.shard import Broken, CaptionShard
from catlipctl.data.sources.storage import File, ReadFailed, look_at
from catlipctl.data.sources.tars import TarCaptions, TarSource
from catlipctl.data.sources.text_files import FolderCaptions, line_shards
from catlipctl.errors import DataError, UsageError
from catlipctl.files import cache_dir as default_cache_dir
from catlipctl.progress import SILENT, Progress

__all__ = ["CaptionShard", "caption_shards", "no_captions"]

_SPOKEN = {"listing": "listing", "saved": "saved dataset", "text": "text file", "folder": "folder of images"}


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
            located = locate_hub(text)
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
    kind, files = located.kind, located.files
    if captions_from and kind not in ("tar", "parquet"):
        raise UsageError(
            f"{spec} is a {_SPOKEN[kind]}: --captions-from {captions_from} wants img2dataset's tars "
            "or Parquet",
            f"leave out --captions-from {captions_from}",
        )
    if kind == "tar" and captions_from is None:
        return [TarCaptions(file, image_key, caption_keys, cache) for file in files]
    if kind == "folder":
        return [FolderCaptions.of(located.folder, image_key, caption_keys)]
    if kind == "text":
        return [shard for file in files for shard in line_shards(file)]
    tables: list[ParquetCaptions] | list[ListingCaptions] | list[SavedCaptions]
    if kind == "listing":
        tables = [ListingCaptions(file, image_key, caption_keys, located.below) for file in files]
    elif kind == "saved":
        tables = [SavedCaptions(file, image_key, caption_keys) for file in files]
    else:
        parquet = _beside(files) if kind == "tar" else files
        tables = [shard for file in parquet for shard in parquet_shards(file, caption_keys)]
    _check_first(tables)
    return tables


def _check_first(shards: Sequence[ParquetCaptions | ListingCaptions | SavedCaptions]) -> None:
    """See that the first shard that can be read has the columns, rather than fail in hours."""
    for shard in shards:
        with suppress(Broken, ReadFailed):
            shard.check()
            return


def _beside(tars: Sequence[File]) -> list[File]:
    """NAME.parquet of each NAME.tar; one that is missing is a shard that cannot be read."""
    return look_at_all([file.path.removesuffix(".tar") + ".parquet" for file in tars], _look_or_miss)


def _look_or_miss(path: str) -> File:
    try:
        return look_at(path)
    except (OSError, ReadFailed):
        return File(path, 0, MISSING)
