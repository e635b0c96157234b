"""The images that a person names: files, folders, patterns, and SOURCEs of many in a file, as one row."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from catlipctl.data import Source, open_source
from catlipctl.data.sources import saved
from catlipctl.data.sources.faults import MAX_IMAGE_BYTES
from catlipctl.data.sources.image_files import files_below, named_images, shown
from catlipctl.data.sources.patterns import expand
from catlipctl.data.sources.storage import is_url
from catlipctl.errors import DataError
from catlipctl.files import FileKind
from catlipctl.progress import SILENT, Progress

SUFFIXES = (".tar", ".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
"""Of files that hold many images, or name them."""
_IMAGE = FileKind("an image", MAX_IMAGE_BYTES, DataError, "check the paths")


class Input(NamedTuple):
    """An image as it was named.

    image: its path, or its key in a SOURCE. name: for people, as short as tells it apart. source: the SOURCE,
    '' of a file. content: its bytes, None where there are none, and then fault says why.
    """

    image: str
    name: str
    source: str
    content: bytes | None
    fault: str | None


class Inputs:
    """Images by number: the files in the order named, then each SOURCE in its own.

    skipped: files in folders and patterns that are no images by their names, by suffix. Picklable.
    """

    def __init__(self, files: Mapping[Path, str], sources: Sequence[Source], skipped: Counter[str]) -> None:
        self._files = list(files.items())
        self._sources = list(sources)
        self.skipped = skipped

    def __len__(self) -> int:
        return len(self._files) + sum(map(len, self._sources))

    def __getitem__(self, number: int) -> Input:
        """Raises ReadFailed (a MachineError) where a SOURCE cannot be read any more."""
        if number < len(self._files):
            return _of_file(*self._files[number])
        number -= len(self._files)
        for source in self._sources:
            if number < len(source):
                sample = source[number]
                fault = None if sample.image is not None else f"{sample.key}: no image, or over 256 MiB"
                return Input(sample.key, sample.key, source.name, sample.image, fault)
            number -= len(source)
        raise IndexError(number)

    def fingerprint(self) -> str:
        """Changes with what is named, and with each file's size and time of writing."""
        found = hashlib.sha256()
        for path, _ in self._files:
            try:
                status = os.stat(path)
                stamp = f"{status.st_size} {status.st_mtime_ns}"
            except (OSError, ValueError):
                stamp = "absent"
            found.update(os.fsencode(path) + f"\0{stamp}\n".encode())
        for source in self._sources:
            found.update(f"{source.name}\0{source.fingerprint}\n".encode(errors="surrogateescape"))
        return found.hexdigest()[:32]


def open_inputs(
    named: Sequence[str | Path],
    *,
    image_key: str | None = None,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Inputs:
    """The images that files, folders, patterns and SOURCEs stand for.

    A folder is one of pictures, unless it has none and holds tars, Parquet or a saved dataset. Raises
    DataError where one stands for no image.
    """
    texts = [str(text) for text in named]
    of_sources = [text for text in texts if _is_source(text)]
    sources = [
        open_source([text], image_key=image_key, need="images", cache_dir=cache_dir, progress=progress)
        for text in of_sources
    ]
    files, skipped = named_images([text for text in texts if text not in of_sources])
    return Inputs(files, sources, skipped)


def _is_source(text: str) -> bool:
    if text.startswith(("hf:", "emoji:")) or is_url(text):
        return True
    path = Path(text)
    if path.is_dir():
        inside = [*path.glob("*.tar"), *path.glob("*.parquet"), *path.glob("data/*.parquet")]
        inside += [path / name for name in saved.MARKS if (path / name).is_file()]
        return bool(inside) and not any(file.is_image for file in files_below(path))
    matched = expand(text)
    return bool(matched) and matched[0].lower().endswith(SUFFIXES)


def _of_file(path: Path, name: str) -> Input:
    try:
        return Input(shown(path), name, "", _IMAGE.read_bytes(path), None)
    except DataError as error:
        return Input(shown(path), name, "", None, error.message)
