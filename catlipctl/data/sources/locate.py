"""Which files a SOURCE text names, and of what kind they are, before any of them is opened."""

import difflib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

from catlipctl.data.sources import folder as folders
from catlipctl.data.sources.patterns import is_url
from catlipctl.data.sources.storage import File, expand, local, look_at
from catlipctl.errors import DataError, UsageError
from catlipctl.progress import Progress

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_LISTINGS = (".csv", ".tsv")
_EMOJI = ("emoji:pairs", "emoji:transfer/train", "emoji:transfer/test")
_REQUESTS = 32
"""To a server at once: an answer takes a tenth of a second, and there may be a hundred thousand files."""

NO_CAPTIONS_HINT = "it serves `catlipctl eval`; to learn from captions, give tars, Parquet or a listing"


class Located(NamedTuple):
    """The files of a SOURCE, all of one kind; a folder of images has none, but `folder`."""

    kind: Literal["tar", "parquet", "listing", "folder"]
    files: list[File]
    folder: Path = Path()


def locate(spec: str, cache: Path, progress: Progress) -> Located:
    """The files of a SOURCE without a weight that is not on the Hub (`hf:`).

    Raises:
        DataError: nothing is there, or files of several kinds.
        UsageError: there is no such embedded data, or the text is empty.
    """
    if not spec:  # as of a shell's variable that is not set; as a path it would be the current folder
        raise UsageError("a source's name is empty", "name one; . is the current folder")
    if spec.startswith("emoji:"):
        return _locate_emoji(spec, cache, progress)
    paths = [local(path) for path in expand(local(spec))]
    if not paths:
        raise DataError(f"nothing matches {spec}", "check the pattern, and quote it against the shell")
    if len(paths) == 1 and not is_url(paths[0]) and Path(paths[0]).is_dir():
        return _locate_in(spec, Path(paths[0]))
    return Located(_kind(spec, paths), _look_at_all(spec, paths))


def _locate_in(spec: str, folder: Path) -> Located:
    shards = folders.files_of(folder, ".tar")
    if shards:
        return Located("tar", _look_at_all(spec, shards), folder)
    parquet = folders.files_of(folder, ".parquet")
    if parquet:
        return Located("parquet", _look_at_all(spec, parquet), folder)
    if (folder / "metadata.csv").is_file():
        return Located("listing", _look_at_all(spec, [folder / "metadata.csv"]), folder)
    splits = folders.splits_in(folder)
    if splits:
        choices = " or ".join(str(Path(spec) / split) for split in splits)
        raise DataError(f"{spec} holds the splits {', '.join(splits)}", f"choose one of them: {choices}")
    for name in sorted(os.listdir(folder)):
        _refuse_compressed(str(folder / name))
    return Located("folder", [], folder)


def _locate_emoji(spec: str, cache: Path, progress: Progress) -> Located:
    from catlipctl.data import emoji

    if spec not in _EMOJI:
        raise UsageError(f"there is no embedded data {spec}", f"choose one of {', '.join(_EMOJI)}")
    if spec == "emoji:pairs":
        return Located("tar", _look_at_all(spec, emoji.pairs(cache, progress)))
    return _locate_in(spec, emoji.transfer(cache, progress) / spec.rsplit("/", 1)[-1])


def _kind(spec: str, paths: Sequence[str]) -> Literal["tar", "parquet", "listing"]:
    """The one kind of file that `paths` are."""
    kinds = set()
    for path in paths:
        _refuse_compressed(path)
        plain = path.split("?")[0] if is_url(path) else path
        suffix = os.path.splitext(plain)[1].lower()
        kinds.add(".csv" if suffix in _LISTINGS else suffix)
        if not is_url(path) and not os.path.exists(path):
            raise _missing(spec, path, paths)
    if len(kinds) > 1:
        raise DataError(
            f"{spec} matches files of several kinds: {', '.join(sorted(kinds))}", "narrow the pattern"
        )
    if kinds == {".tar"}:
        return "tar"
    if kinds == {".parquet"}:
        return "parquet"
    if kinds == {".csv"}:
        return "listing"
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
    if path.count("/") == 1 and not path.startswith(".") and not Path(path).suffix:
        hint += f"; a dataset of the Hub is hf:{path}"
    return DataError(f"there is no {path}", hint)


def _look_at_all(spec: str, paths: Sequence[str | Path]) -> list[File]:
    names = [str(path) for path in paths]
    try:
        return look_at_all(names)
    except OSError as error:
        raise DataError(f"{spec} cannot be opened: {error}", "check the path and its permissions") from error


def look_at_all(paths: Sequence[str]) -> list[File]:
    """`look_at` for many; a server is asked for several at once.

    Raises:
        OSError: one of them is not there.
    """
    if not any(map(is_url, paths)):
        return [look_at(path) for path in paths]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(look_at, paths))
