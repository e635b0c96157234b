"""Which files a SOURCE text names, and of what kind they are, before any of them is opened.

A folder may hold several kinds. The first of these is the source, and the user is told of the others: tars,
Parquet (in the folder or its `data/`), a dataset of `save_to_disk`, `metadata.csv`, `metadata.jsonl`; else
its images, with text files beside them or in class folders. Tars come first, because img2dataset leaves
Parquet beside them.
"""

import difflib
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

from catlipctl.data.sources.patterns import expand
from catlipctl.data.sources.storage import File, is_url, listed, local, look_at
from catlipctl.errors import DataError, UsageError
from catlipctl.progress import Progress

Kind = Literal["tar", "parquet", "saved", "listing", "text", "folder"]
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_KINDS: dict[str, Kind] = {
    ".tar": "tar",
    ".parquet": "parquet",
    **dict.fromkeys((".csv", ".tsv", ".jsonl", ".ndjson"), "listing"),
    ".txt": "text",
}
_SPOKEN: dict[Kind, str] = {"tar": "tars", "parquet": "Parquet", "saved": "a saved dataset"}
_METADATA = ("metadata.csv", "metadata.jsonl")
SPLITS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")
_SPLIT = re.compile(rf"({'|'.join(sorted(SPLITS, key=len, reverse=True))})(?=[-_.\d]|$)", re.IGNORECASE)
_REQUESTS = 32
"""To a server at once: an answer takes a tenth of a second, and there may be a hundred thousand files."""
_PEEKED = 2**16


class Located(NamedTuple):
    """The files of a SOURCE, all of one kind; a folder of images has none, but `folder`.

    below: of a listing, only the rows whose path begins with it (`train/`) are meant.
    """

    kind: Kind
    files: list[File]
    folder: Path = Path()
    below: str = ""


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

        return _locate_in(spec, emoji.folder_of(spec, cache, progress), progress)
    paths = [local(path) for path in expand(local(spec))]
    if not paths:
        raise DataError(f"nothing matches {spec}", "check the pattern, and quote it against the shell")
    if len(paths) == 1 and not is_url(paths[0]) and Path(paths[0]).is_dir():
        return _locate_in(spec, Path(paths[0]), progress)
    return Located(_kind(spec, paths), _look_at_all(spec, paths))


def _locate_in(spec: str, folder: Path, progress: Progress) -> Located:
    from catlipctl.data.sources import saved

    there: dict[Kind, list[Path]] = {
        "tar": _files_of(folder, ".tar"),
        "parquet": _files_of(folder, ".parquet"),
        "saved": [folder / name for name in saved.MARKS if (folder / name).is_file()],
        "listing": [folder / name for name in _METADATA if (folder / name).is_file()],
    }
    kinds = [kind for kind, files in there.items() if files]
    if len(kinds) > 1 or len(there["listing"]) > 1:
        spoken = [_SPOKEN[kind] for kind in kinds if kind != "listing"]
        spoken += [file.name for file in there["listing"]]
        progress.note(f"{spec} holds {' and '.join(spoken)}: reading {spoken[0]}; name another to read it")
    splits = _splits_in(folder)
    if "tar" in kinds or "parquet" in kinds:
        files = there[kinds[0]]
        _refuse_splits(folder, files)
        return Located(kinds[0], _look_at_all(spec, files), folder)
    if "saved" in kinds:
        folder = saved.split_of(spec, folder, progress)
        return Located("saved", _look_at_all(spec, saved.files_of(folder)), folder)
    if "listing" in kinds and len(splits) < 2:
        return Located("listing", _look_at_all(spec, there["listing"][:1]), folder)
    if splits:
        choices = " or ".join(str(Path(spec) / split) for split in splits)
        raise DataError(f"{spec} holds the splits {', '.join(splits)}", f"choose one of them: {choices}")
    if (beside := _metadata_beside(folder)) is not None:
        return Located("listing", _look_at_all(spec, [beside]), folder, f"{folder.resolve().name}/")
    for name in sorted(os.listdir(folder)):
        _refuse_compressed(str(folder / name))
        for inside in _METADATA:
            if (folder / name / inside).is_file():
                progress.note(f"{spec}/{name}/{inside} is not read here: name {spec}/{name} to read it")
    return Located("folder", [], folder)


def _metadata_beside(folder: Path) -> Path | None:
    """The metadata beside the folder of a split, if it names files in it."""
    folder = folder.resolve()
    if folder.name.lower() not in SPLITS:
        return None
    for path in (folder.parent / name for name in _METADATA):
        if path.is_file():
            with path.open("rb") as stream:
                if f"{folder.name}/".encode(errors="surrogateescape") in stream.read(_PEEKED):
                    return path
    return None


def _files_of(folder: Path, suffix: str) -> list[Path]:
    """The files with a suffix in a folder, sorted; without any, those in its `data/` (as on the Hub)."""
    for place in (folder, folder / "data"):
        files = sorted(path for path in place.glob(f"*{suffix}") if path.is_file())
        if files:
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


def _kind(spec: str, paths: Sequence[str]) -> Kind:
    """The one kind of file that `paths` are."""
    suffixes = set()
    for path in paths:
        plain = path.split("?")[0] if is_url(path) else path
        suffix = os.path.splitext(plain)[1].lower()
        suffixes.add(suffix)
        if suffix not in _KINDS:
            _refuse_compressed(path)
        if not is_url(path) and not os.path.exists(path):
            raise _missing(spec, path, paths)
    kinds = {_KINDS.get(suffix) for suffix in suffixes}
    if len(kinds) > 1:
        raise DataError(
            f"{spec} matches files of several kinds: {', '.join(sorted(suffixes))}", "narrow the pattern"
        )
    kind = kinds.pop()
    if kind is None:
        raise DataError(
            f"{spec} is not a known kind of source",
            f"SOURCE is a {', '.join(_KINDS)}, a folder, hf:ORG/NAME, or a URL of such a file",
        )
    return kind


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
        said = error.__cause__ or error  # fsspec's own error names the URL alone
        raise DataError(f"{spec} cannot be opened: {said}", "check the path and its permissions") from error


def look_at_all(paths: Sequence[str], look: Callable[[str], File] = look_at) -> list[File]:
    """`look` for many; a server is asked for several at once.

    Raises:
        OSError: one of them is not there. ReadFailed: the disk or the server does not say.
    """
    if not any(map(is_url, paths)):
        return [look(path) for path in paths]
    known: dict[str, File] = {}
    folders: dict[str, list[str]] = {}
    for path in filter(is_url, paths):
        folders.setdefault(path.rpartition("/")[0], []).append(path)
    for inside in folders.values():
        if len(inside) > _REQUESTS:
            known |= listed(inside)
    with ThreadPoolExecutor(_REQUESTS) as pool:
        left = [path for path in paths if path not in known]
        known |= zip(left, pool.map(look, left), strict=True)
    return [known[path] for path in paths]


def slug(data: str) -> str:
    """A folder's name for a SOURCE: `emoji:transfer` is emoji-transfer, `photos/train` photos."""
    from catlipctl.data import emoji

    parts = [part for part in re.split(r"[/:]", data) if part not in ("", ".", "..", "train")]
    name = "-".join(parts) if data.startswith((emoji.PREFIX, "hf:")) else (parts or ["data"])[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "data"
