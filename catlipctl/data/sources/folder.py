"""What a folder is: a place of shards, of Parquet, of a `metadata.csv` and images, or of class folders."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from catlipctl.data.sources.image_files import ImageFileSource
from catlipctl.data.sources.tar_index import IMAGE_EXTENSIONS
from catlipctl.errors import DataError

SPLITS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")
_SPLIT = re.compile(rf"({'|'.join(sorted(SPLITS, key=len, reverse=True))})(?=[-_.\d]|$)", re.IGNORECASE)
_IMAGE_SUFFIXES = tuple(f".{extension}" for extension in IMAGE_EXTENSIONS)


def files_of(folder: Path, suffix: str) -> list[Path]:
    """The files with a suffix in a folder, sorted; without any, those in its `data/` (as on the Hub).

    Raises:
        DataError: their names tell several splits apart (`train-00000.parquet`, `test-00000.parquet`).
    """
    for place in (folder, folder / "data"):
        files = sorted(path for path in place.glob(f"*{suffix}") if path.is_file())
        if files:
            one_split(folder, files)
            return files
    return []


def one_split(folder: Path, files: list[Path]) -> None:
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


def splits_in(folder: Path) -> list[str]:
    """Sub-folders named as splits are."""
    return sorted(path.name for path in folder.iterdir() if path.name.lower() in SPLITS and path.is_dir())


def open_class_folders(name: str, folder: Path) -> ImageFileSource | None:
    """The images under each sub-folder, labelled with its name; None where no sub-folder has an image.

    Sub-folders in a class belong to it; hidden ones are passed over.
    """
    paths, labels = [], []
    stamps = hashlib.sha256(str(folder.resolve()).encode())
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir() and not entry.name.startswith("."):
            for path, stamp in sorted(_images(entry.path)):
                paths.append(os.path.relpath(path, folder))
                labels.append(entry.name)
                stamps.update(f"{paths[-1]}\0{stamp}\n".encode(errors="surrogateescape"))
    if not paths:
        return None
    return ImageFileSource(name, folder, paths, labels=labels, faults={}, fingerprint=stamps.hexdigest()[:32])


def open_flat_folder(name: str, folder: Path) -> ImageFileSource | None:
    """The images of a folder, without captions or labels; None where it has none."""
    images = sorted((os.path.relpath(path, folder), stamp) for path, stamp in _images(str(folder)))
    if not images:
        return None
    stamps = hashlib.sha256(repr((str(folder.resolve()), images)).encode(errors="surrogateescape"))
    paths = [path for path, _ in images]
    return ImageFileSource(name, folder, paths, faults={}, fingerprint=stamps.hexdigest()[:32])


def _images(folder: str) -> Iterator[tuple[str, str]]:
    """Path, and size and mtime, of each image below a folder. Links to folders may loop: not followed."""
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _images(entry.path)
        elif entry.name.lower().endswith(_IMAGE_SUFFIXES) and entry.is_file():
            status = entry.stat()
            yield entry.path, f"{status.st_size} {status.st_mtime_ns}"
