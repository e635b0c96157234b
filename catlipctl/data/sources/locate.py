"""Which files a SOURCE text names, and of what kind they are, before any of them is opened."""

import difflib
import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from catlipctl.data.sources.storage import File, is_url, local, look_at, remote_glob
from catlipctl.errors import DataError, UsageError
from catlipctl.progress import Progress

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_LISTINGS = (".csv", ".tsv")
SPLITS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")
_SPLIT = re.compile(rf"({'|'.join(sorted(SPLITS, key=len, reverse=True))})(?=[-_.\d]|$)", re.IGNORECASE)
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?$")
_WEIGHT = re.compile(r"(?P<spec>.+)=(?P<weight>\d+(?:\.\d*)?|\.\d+)$", re.DOTALL)
MAX_FILES = 1_000_000
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
        from catlipctl.data import emoji

        return _locate_in(spec, emoji.folder_of(spec, cache, progress))
    paths = [local(path) for path in expand(local(spec))]
    if not paths:
        raise DataError(f"nothing matches {spec}", "check the pattern, and quote it against the shell")
    if len(paths) == 1 and not is_url(paths[0]) and Path(paths[0]).is_dir():
        return _locate_in(spec, Path(paths[0]))
    return Located(_kind(spec, paths), _look_at_all(spec, paths))


def _locate_in(spec: str, folder: Path) -> Located:
    shards = _files_of(folder, ".tar")
    if shards:
        return Located("tar", _look_at_all(spec, shards), folder)
    parquet = _files_of(folder, ".parquet")
    if parquet:
        return Located("parquet", _look_at_all(spec, parquet), folder)
    if (folder / "metadata.csv").is_file():
        return Located("listing", _look_at_all(spec, [folder / "metadata.csv"]), folder)
    splits = _splits_in(folder)
    if splits:
        choices = " or ".join(str(Path(spec) / split) for split in splits)
        raise DataError(f"{spec} holds the splits {', '.join(splits)}", f"choose one of them: {choices}")
    for name in sorted(os.listdir(folder)):
        _refuse_compressed(str(folder / name))
    return Located("folder", [], folder)


def _files_of(folder: Path, suffix: str) -> list[Path]:
    """The files with a suffix in a folder, sorted; without any, those in its `data/` (as on the Hub).

    Raises:
        DataError: their names tell several splits apart (`train-00000.parquet`, `test-00000.parquet`).
    """
    for place in (folder, folder / "data"):
        files = sorted(path for path in place.glob(f"*{suffix}") if path.is_file())
        if files:
            _refuse_splits(folder, files)
            return files
    return []


def _refuse_splits(folder: Path, files: list[Path]) -> None:
    """Refuse to mix training with test data only because they lie side by side.

    Raises:
        DataError: the names begin with more than one split; the hint has the patterns to choose from.
    """
    splits = {match[1] for path in files if (match := _SPLIT.match(path.name))}
    if len(splits) > 1:
        patterns = [f"'{files[0].parent / split}*{files[0].suffix}'" for split in sorted(splits)]
        raise DataError(
            f"{folder} holds the splits {', '.join(sorted(splits))}",
            f"choose one: {' or '.join(patterns)}",
        )


def _splits_in(folder: Path) -> list[str]:
    """Sub-folders named as splits are."""
    return sorted(path.name for path in folder.iterdir() if path.name.lower() in SPLITS and path.is_dir())


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


def look_at_all(paths: Sequence[str], look: Callable[[str], File] = look_at) -> list[File]:
    """`look` for many; a server is asked for several at once.

    Raises:
        OSError: one of them is not there. ReadFailed: the disk or the server does not say.
    """
    if not any(map(is_url, paths)):
        return [look(path) for path in paths]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(look, paths))


def split_weight(spec: str) -> tuple[str, float]:
    """SOURCE without its `=WEIGHT`, and the weight (1 where none is given).

    A path that exists as it stands (`split=1/`) has no weight, nor has a URL with a query (`a.tar?v=3`).

    Raises:
        UsageError: the weight is zero.
    """
    found = _WEIGHT.match(spec)
    if found is None or Path(spec).exists() or ("://" in spec and "?" in spec):
        return spec, 1.0
    weight = float(found["weight"])
    if weight == 0:
        raise UsageError(
            f"the weight of {found['spec']} is 0", "give a weight above 0, or leave the source out"
        )
    return found["spec"], weight


def expand(pattern: str) -> list[str]:
    """The paths that a glob or brace pattern stands for: braces in their order, globs sorted.

    A path without a glob is given back whether it exists or not.
    """
    found: list[str] = []
    for path in [pattern] if not is_url(pattern) and os.path.exists(pattern) else expand_braces(pattern):
        if is_url(path):
            found += remote_glob(path) if any(mark in path for mark in "*[") else [path]
        elif glob.has_magic(path) and not os.path.exists(path):
            found += sorted(glob.glob(os.path.expanduser(path), recursive=True))
        else:
            found.append(os.path.expanduser(path))
    return found


def expand_braces(pattern: str) -> list[str]:
    """The texts that a shell's brace pattern stands for, in its order.

    `{000000..000012}` (with zero padding and an optional step), `{a,b}`, several in a row and nested ones;
    braces that are neither stay as they are.

    Raises:
        UsageError: more than a million texts.
    """
    texts = []
    for text in _expand(pattern):
        texts.append(text)
        if len(texts) > MAX_FILES:
            raise UsageError(f"{pattern} stands for more than {MAX_FILES:,} files", "split the pattern")
    return texts


def _expand(pattern: str) -> Iterator[str]:
    for start in (at for at, character in enumerate(pattern) if character == "{"):
        choices = _choices(pattern, start)
        if choices is not None:
            alternatives, stop = choices
            for alternative in alternatives:
                for tail in _expand(pattern[stop:]):
                    yield pattern[:start] + alternative + tail
            return
    yield pattern


def _choices(pattern: str, start: int) -> tuple[Iterator[str], int] | None:
    """What the brace that opens at `start` offers, and where it ends; None where it is no brace pattern."""
    depth, commas = 0, [start]
    for at in range(start, len(pattern)):
        if pattern[at] == "{":
            depth += 1
        elif pattern[at] == "," and depth == 1:
            commas.append(at)
        elif pattern[at] == "}":
            depth -= 1
            if depth == 0:
                break
    else:
        return None
    if len(commas) > 1:
        cuts = [*commas, at]
        pieces = [pattern[a + 1 : b] for a, b in pairwise(cuts)]
        return (text for piece in pieces for text in _expand(piece)), at + 1
    bounds = _RANGE.match(pattern[start + 1 : at])
    return (_numbers(*bounds.groups()), at + 1) if bounds else None


def _numbers(first: str, last: str, step: str | None) -> Iterator[str]:
    padded = any(text.lstrip("-").startswith("0") and len(text.lstrip("-")) > 1 for text in (first, last))
    width = max(len(first), len(last)) if padded else 0
    low, high, stride = int(first), int(last), abs(int(step or 1)) or 1
    numbers = range(low, high + 1, stride) if low <= high else range(low, high - 1, -stride)
    return (f"{number:0{width}d}" for number in numbers)
