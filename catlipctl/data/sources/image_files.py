"""Images that are files of their own, with captions or labels said by a listing or by folder names."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from catlipctl.data.sample import Sample
from catlipctl.data.sources.faults import MAX_IMAGE_BYTES
from catlipctl.data.sources.storage import read_file
from catlipctl.data.sources.tar_index import IMAGE_EXTENSIONS

_IMAGE_SUFFIXES = tuple(f".{extension}" for extension in IMAGE_EXTENSIONS)


class ImageFileSource:
    """One sample per image file.

    paths: as written, relative ones from `root`. captions: one tuple a sample, or None where there are none.
    A file that is missing or over 256 MiB is a sample whose image is None.
    """

    shards = 0

    def __init__(
        self,
        name: str,
        root: Path,
        paths: Sequence[str],
        *,
        captions: Sequence[Sequence[str]] | None = None,
        labels: Sequence[str | None] | None = None,
        faults: Mapping[str, int],
        fingerprint: str,
    ) -> None:
        self.name = name
        self.faults = faults
        self.fingerprint = fingerprint
        self._root = root
        # Here, because who only counts or reads a vocabulary need not wait for it.
        import pyarrow as pa

        # Arrow arrays: less memory than Python strings, and forked workers share it (no reference counts).
        # A path may be no UTF-8, so it is kept as the bytes that the system knows.
        self._paths = pa.array([os.fsencode(path) for path in paths], pa.large_binary())
        self._captions = None if captions is None else pa.array(captions, pa.large_list(pa.large_string()))
        self._labels = None if labels is None else pa.array(labels, pa.string()).dictionary_encode()

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        path = self._paths[index].as_py()
        return Sample(
            key=path.decode(errors="replace"),
            image=read_file(self._root / os.fsdecode(path), MAX_IMAGE_BYTES),
            captions=() if self._captions is None else tuple(self._captions[index].as_py()),
            label=None if self._labels is None else self._labels[index].as_py(),
        )

    @property
    def shard_sizes(self) -> list[int]:
        """All samples: there are no shards."""
        return [len(self)]

    def captions(self) -> Iterator[tuple[str, ...]]:
        """The captions of all samples in storage order."""
        if self._captions is None:
            yield from (() for _ in range(len(self)))
        else:
            yield from (tuple(texts.as_py()) for texts in self._captions)

    def labels(self) -> list[str | None]:
        """The class label of every sample in storage order."""
        return [None] * len(self) if self._labels is None else self._labels.to_pylist()


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
