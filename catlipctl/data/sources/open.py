"""From a SOURCE text to a source."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catlipctl.data.sample import Source
from catlipctl.data.sources import folder as folders
from catlipctl.data.sources.concatenation import Concatenation
from catlipctl.data.sources.patterns import is_url, split_weight
from catlipctl.data.sources.storage import File, expand, local, look_at
from catlipctl.data.sources.tar import Need, TarSource
from catlipctl.errors import DataError, UsageError
from catlipctl.files import cache_dir as default_cache_dir
from catlipctl.progress import SILENT, Progress

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_LISTINGS = (".csv", ".tsv")
_EMOJI = ("emoji:pairs", "emoji:transfer/train", "emoji:transfer/test")


def open_source(
    spec: str | Path | Sequence[str | Path],
    *,
    image_key: str | None = None,
    caption_keys: Sequence[str] = (),
    label_key: str | None = None,
    need: Need = "captions",
    strict: bool = False,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Source:
    """Open a SOURCE, or several one after the other, each with an optional `=WEIGHT`.

    SOURCE is a tar, a glob or brace pattern of tars, a folder (of tars; else of Parquet, else with
    `metadata.csv`, else of class folders), Parquet, a CSV/TSV listing, an fsspec URL,
    `hf:ORG/NAME[/SPLIT][:CONFIG][@REVISION]`, or the embedded `emoji:pairs`, `emoji:transfer/train`,
    `emoji:transfer/test`.

    Args:
        image_key: extension or column that is the image; found by its name if None.
        caption_keys: extensions, `json:FIELD`s or columns; several give an image several captions.
        label_key: where the class is; `cls`, a column named label, or the folder's name if None.
        need: what a sample must have: captions (to pre-train), labels (to evaluate), images (neither),
            or any: captions where the source has some, else labels.
        strict: a shard that is not whole is an error.

    Raises:
        DataError: there is no such source, or no usable sample in it; the hint says what helps.
        UsageError: the text cannot be read.
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
    sources = [_open(text, strict, cache, options) for text, _ in named]
    weights = [weight for _, weight in named]
    return sources[0] if weights == [1.0] else Concatenation(sources, weights)


def _open(spec: str, strict: bool, cache: Path, options: dict[str, Any]) -> Source:
    """One SOURCE without a weight."""
    if spec.startswith("emoji:"):
        return _open_emoji(spec, strict, cache, options)
    if spec.startswith("hf:") and not spec.startswith("hf://"):
        from catlipctl.data.sources.hub import open_hub

        return open_hub(spec, strict=strict, cache=cache, **options)
    paths = [local(path) for path in expand(local(spec))]
    if not paths:
        raise DataError(f"nothing matches {spec}", "check the pattern, and quote it against the shell")
    if len(paths) == 1 and not is_url(paths[0]) and Path(paths[0]).is_dir():
        return _open_folder(spec, Path(paths[0]), strict, cache, options)

    kind = _kind(spec, paths)
    files = _look_at_all(spec, paths)
    if kind == ".tar":
        return TarSource(spec, files, strict=strict, cache=cache, **options)
    if kind == ".parquet":
        return _open_parquet(spec, files, strict, cache, options)
    if len(files) > 1 or is_url(paths[0]):
        raise DataError(f"{spec} is not one local listing", "give each listing with a --data of its own")
    from catlipctl.data.sources.listing import open_listing

    return open_listing(spec, Path(paths[0]), **options)


def _open_folder(spec: str, folder: Path, strict: bool, cache: Path, options: dict[str, Any]) -> Source:
    shards = folders.files_of(folder, ".tar")
    if shards:
        return TarSource(spec, _look_at_all(spec, shards), strict=strict, cache=cache, **options)
    parquet = folders.files_of(folder, ".parquet")
    if parquet:
        return _open_parquet(spec, _look_at_all(spec, parquet), strict, cache, options)
    if (folder / "metadata.csv").is_file():
        from catlipctl.data.sources.listing import open_listing

        return open_listing(spec, folder / "metadata.csv", **options)
    splits = folders.splits_in(folder)
    if splits:
        choices = " or ".join(str(Path(spec) / split) for split in splits)
        raise DataError(f"{spec} holds the splits {', '.join(splits)}", f"choose one of them: {choices}")
    for name in sorted(os.listdir(folder)):
        _refuse_compressed(str(folder / name))
    source = folders.open_class_folders(spec, folder)
    if source is None and options["need"] == "images":
        source = folders.open_flat_folder(spec, folder)
    if source is None:
        raise DataError(
            f"{spec} holds no tars, no Parquet, no metadata.csv and no class folders with images",
            "SOURCE may also be a listing (CSV or TSV with filepath and title)",
        )
    if options["need"] == "captions":
        raise DataError(
            f"{spec} is class folders: its images have labels but no captions",
            "it serves `catlipctl eval`; to learn from captions, give tars, Parquet or a listing",
        )
    return source


def _open_parquet(
    spec: str, files: Sequence[File], strict: bool, cache: Path, options: dict[str, Any]
) -> Source:
    from catlipctl.data.sources.parquet import open_parquet

    return open_parquet(spec, files, strict=strict, cache=cache, **options)


def _open_emoji(spec: str, strict: bool, cache: Path, options: dict[str, Any]) -> Source:
    from catlipctl.data import emoji

    if spec not in _EMOJI:
        raise UsageError(f"there is no embedded data {spec}", f"choose one of {', '.join(_EMOJI)}")
    if spec == "emoji:pairs":
        shards = emoji.pairs(cache, options["progress"])
        return TarSource(spec, _look_at_all(spec, shards), strict=strict, cache=cache, **options)
    folder = emoji.transfer(cache, options["progress"]) / spec.rsplit("/", 1)[-1]
    return _open_folder(spec, folder, strict, cache, options)


def _kind(spec: str, paths: Sequence[str]) -> str:
    """The one kind of file that `paths` are: .tar, .parquet or .csv."""
    kinds = set()
    for path in paths:
        _refuse_compressed(path)
        plain = path.split("?")[0] if is_url(path) else path
        suffix = os.path.splitext(plain)[1].lower()
        kinds.add(".csv" if suffix in _LISTINGS else suffix)
        if not is_url(path) and not os.path.exists(path):
            raise _missing(spec, path, paths)
    if len(kinds) == 1 and kinds <= {".tar", ".parquet", ".csv"}:
        return kinds.pop()
    if len(kinds) > 1:
        raise DataError(
            f"{spec} matches files of several kinds: {', '.join(sorted(kinds))}", "narrow the pattern"
        )
    raise DataError(
        f"{spec} is no kind of source that is known",
        "SOURCE is a .tar, .parquet, .csv or .tsv, a folder, hf:ORG/NAME, or a URL of such a file",
    )


def _refuse_compressed(path: str) -> None:
    if path.lower().endswith(_COMPRESSED):
        raise DataError(
            f"{path} is compressed, so its samples cannot be reached one by one",
            "images gain nothing from it; unpack the tar itself: gunzip (or bunzip2, unxz, unzstd) FILE",
        )


def _missing(spec: str, path: str, paths: Sequence[str]) -> DataError:
    if len(paths) > 1:
        gone = [path for path in paths if not is_url(path) and not os.path.exists(path)]
        return DataError(
            f"{len(gone)} of the {len(paths)} files of {spec} do not exist: first {gone[0]}",
            "mend the range, or use a quoted glob, which takes what is there",
        )
    parent = Path(path).parent
    near = difflib.get_close_matches(Path(path).name, os.listdir(parent), 1) if parent.is_dir() else []
    hint = f"did you mean {parent / near[0]}?" if near else "check the path"
    if path.count("/") == 1 and not path.startswith("."):
        hint += f"; a dataset of the Hub is hf:{path}"
    return DataError(f"there is no {path}", hint)


def _look_at_all(spec: str, paths: Sequence[str | Path]) -> list[File]:
    try:
        return [look_at(str(path)) for path in paths]
    except OSError as error:
        raise DataError(f"{spec} cannot be opened: {error}", "check the path and its permissions") from error
