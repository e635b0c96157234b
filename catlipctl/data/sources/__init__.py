"""Where image-text pairs come from: tars, folders, tables, saved datasets, the Hub; opened by a SOURCE text.

A format is one reader for both walks: samples by index (`open_source`), and captions in storage order
(`catlipctl.data.caption_shards`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catlipctl.data.sample import Need, Source
from catlipctl.data.sources.concatenation import Concatenation
from catlipctl.data.sources.locate import locate
from catlipctl.data.sources.patterns import split_weight
from catlipctl.data.sources.storage import is_url
from catlipctl.data.sources.streams import Streaming, open_tars
from catlipctl.data.sources.text_files import NO_IMAGES_HINT, open_folder
from catlipctl.errors import DataError, UsageError
from catlipctl.files import cache_dir as default_cache_dir
from catlipctl.progress import SILENT, Progress

__all__ = ["Streaming", "open_source"]


def open_source(
    spec: str | Path | Sequence[str | Path],
    *,
    image_key: str | None = None,
    caption_keys: Sequence[str] = (),
    label_key: str | None = None,
    need: Need = "captions",
    strict: bool = False,
    streaming: Streaming | None = None,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Source:
    """Open a SOURCE, or several one after the other, each with an optional `=WEIGHT`.

    SOURCE is a tar, a glob or brace pattern of tars, Parquet, a listing (CSV, TSV, JSON Lines), a folder
    (`locate` says of what), a URL of such a file, `hf:ORG/NAME[/SPLIT][:CONFIG][@REVISION]`,
    `coco:ANNOTATIONS.json[:IMAGES]`, or the embedded `emoji:pairs`, `emoji:transfer/train`,
    `emoji:transfer/test`.

    Args:
        image_key: extension or column that is the image; found by its name if None.
        caption_keys: extensions, `json:FIELD`s or columns; several give an image several captions.
        label_key: where the class is, or a list of them; `cls`, a column named label, or the folder's name if
            None.
        need: what a sample must have: captions (to pre-train), labels (to evaluate), images (neither),
            or any: captions where the source has some, else labels.
        strict: a shard that is not whole is an error.
        streaming: that remote tars are read whole, through a cache; by ranges if None.

    Raises:
        DataError: there is no such source, or no usable sample in it; the hint says what helps.
        UsageError: the text cannot be read. ReadFailed (a MachineError): a file is there but cannot be read.
    """
    specs = [spec] if isinstance(spec, str | Path) else list(spec)
    if not specs:
        raise UsageError("no source is given", "name one with --data SOURCE")
    cache = cache_dir or default_cache_dir()
    options: dict[str, Any] = {
        "image_key": image_key,
        "caption_keys": tuple(caption_keys),
        "label_key": label_key,
        "need": need,
        "progress": progress,
    }
    named = [split_weight(str(spec)) for spec in specs]
    sources = [_open(text, strict, streaming, cache, options) for text, _ in named]
    weights = [weight for _, weight in named]
    return sources[0] if weights == [1.0] else Concatenation(sources, weights)


def _open(
    spec: str, strict: bool, streaming: Streaming | None, cache: Path, options: dict[str, Any]
) -> Source:
    """One SOURCE without a weight."""
    if spec.startswith("hf:") and not spec.startswith("hf://"):
        from catlipctl.data.sources.hub import open_hub

        return open_hub(spec, strict=strict, streaming=streaming, cache=cache, **options)
    if spec.startswith("coco:"):
        from catlipctl.data.sources.coco import open_coco

        return open_coco(spec, **options)
    found = locate(spec, cache, options["progress"])
    if found.kind == "tar":
        return open_tars(spec, found.files, strict=strict, streaming=streaming, cache=cache, **options)
    if found.kind == "parquet":
        from catlipctl.data.sources.parquet import open_parquet

        return open_parquet(spec, found.files, strict=strict, cache=cache, **options)
    if found.kind == "saved":
        from catlipctl.data.sources.saved import open_saved

        return open_saved(spec, found.folder, found.files, strict=strict, **options)
    if found.kind == "listing":
        from catlipctl.data.sources.listing import open_listing

        if len(found.files) > 1:
            raise DataError(f"{spec} is several listings", "give each listing with a --data of its own")
        if is_url(found.files[0].path):
            raise DataError(
                f"{spec} is a listing on a server: the images that it names are read from a disk",
                "download it with its images, or give tars",
            )
        return open_listing(spec, Path(found.files[0].path), below=found.below, **options)
    if found.kind == "text":
        raise DataError(f"{spec} is a text file: it has captions but no images", NO_IMAGES_HINT)
    return open_folder(spec, found.folder, **options)
