"""Images that are files of their own: as samples, as what lies below a folder, and as a person names them."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from catlipctl.data.sample import Labels, Sample, compact
from catlipctl.data.sources.faults import MAX_IMAGE_BYTES
from catlipctl.data.sources.patterns import expand
from catlipctl.data.sources.storage import read_file
from catlipctl.data.sources.tars import IMAGE_EXTENSIONS
from catlipctl.errors import DataError

IMAGE_SUFFIXES = tuple(f".{extension}" for extension in IMAGE_EXTENSIONS)
_PROBED = 100


class ImageFileSource:
    """One sample per image file.

    paths: as written, relative ones from `root`. captions, labels: one tuple a sample; None where there are
    none. class_names: all classes, where the data has an order of them.
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
        labels: Sequence[Labels] | None = None,
        class_names: tuple[str, ...] = (),
        faults: Mapping[str, int],
        fingerprint: str,
    ) -> None:
        self.name = name
        self.class_names = class_names
        self.faults = faults
        self.fingerprint = fingerprint
        self._root = root
        # Here, because who only counts or reads a vocabulary need not wait for it.
        import pyarrow as pa

        # Arrow arrays: less memory than Python strings, and forked workers share it (no reference counts).
        # A path may be no UTF-8, so it is kept as the bytes that the system knows.
        self._paths = pa.array([os.fsencode(path) for path in paths], pa.large_binary())
        self._captions = None if captions is None else pa.array(captions, pa.large_list(pa.large_string()))
        self._labels = (
            None
            if labels is None
            else pa.array(labels, pa.large_list(pa.dictionary(pa.int32(), pa.string())))
        )

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
            labels=None if self._labels is None else _tuple(self._labels[index].as_py()),
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

    def labels(self) -> list[Labels]:
        """The classes of every sample in storage order."""
        if self._labels is None:
            return [None] * len(self)
        return compact(_tuple(value.as_py()) for value in self._labels)


def _tuple(names: list[str] | None) -> Labels:
    return None if names is None else tuple(names)


def root_of(name: str, paths: Sequence[str], folder: Path) -> Path:
    """From where some of the paths that a table names exist: the table's folder, else the current one.

    Raises:
        DataError: from neither.
    """
    sample = paths[:: max(1, len(paths) // _PROBED)][:_PROBED]
    for root in (folder, Path.cwd()):
        if any((root / path).is_file() for path in sample):
            return root
    raise DataError(
        f"none of {len(sample)} images looked at in {name} exists: first {sample[0]}",
        f"write absolute paths, or paths relative to {folder}",
    )


class Picture(NamedTuple):
    """A file below a folder, a picture by its name or not. path: from there. stamp: size and mtime."""

    path: str
    stamp: str
    is_image: bool

    @property
    def place(self) -> tuple[str, str]:
        """The sub-folder of the folder named in which it is ('': it lies there itself), and its path."""
        return self.path.partition("/")[0] if "/" in self.path else "", self.path

    @property
    def stem(self) -> str:
        """The path without the last extension."""
        return os.path.splitext(self.path)[0]


def files_below(folder: Path) -> list[Picture]:
    """All files below a folder, those of a sub-folder of it together; what is hidden is passed over.

    A link to a folder is followed where it lies in the folder itself: further down it might be a loop.
    """
    above = len(os.path.join(folder, ""))
    found = _walk(os.path.join(folder, ""), links=True)
    return sorted(
        (Picture(path[above:], stamp, _is_image(path)) for path, stamp in found),
        key=lambda picture: picture.place,
    )


def _walk(folder: str, *, links: bool = False) -> Iterator[tuple[str, str]]:
    """Path, and size and mtime, of each file below a folder."""
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=links):
            yield from _walk(entry.path)
        elif entry.is_file():
            status = entry.stat()
            yield entry.path, f"{status.st_size} {status.st_mtime_ns}"


def _is_image(path: str) -> bool:
    return path.lower().endswith(IMAGE_SUFFIXES)


def shown(path: str | Path) -> str:
    """A path as text that can be written anywhere: one that is no UTF-8 has U+FFFD where it is not."""
    return os.fsencode(path).decode(errors="replace")


def fingerprint_of(folder: Path, files: Sequence[Picture]) -> str:
    """Changes with the folder and with each of the files."""
    stamps = hashlib.sha256(str(folder.resolve()).encode(errors="surrogateescape"))
    for file in files:
        stamps.update(f"{file.path}\0{file.stamp}\n".encode(errors="surrogateescape"))
    return stamps.hexdigest()[:32]


class NamedImages(NamedTuple):
    """What `named_images` found. paths: each file once -> its name for people. skipped: others, by suffix."""

    paths: dict[Path, str]
    skipped: Counter[str]


def named_images(named: Sequence[str | Path]) -> NamedImages:
    """The images that files, folders (all below them) and glob or brace patterns stand for, in this order.

    The name of an image is its path from the folder named, or from where a pattern begins; where two would
    share one, the path as it was given. A file that was named itself is taken whatever its suffix.

    Raises:
        DataError: a pattern matches nothing, or a folder or a pattern has no image.
    """
    names: dict[Path, str] = {}
    skipped: Counter[str] = Counter()
    for text in map(str, named):
        matched = expand(text)
        is_pattern = matched != [os.path.expanduser(text)]
        if not matched:
            raise DataError(f"nothing matches {text}", "check the pattern, and quote it against the shell")
        start = _fixed_part(text) if is_pattern else ""
        inside: dict[Path, str] = {}
        for path in map(Path, matched):
            if path.is_dir():
                found = files_below(path)
                root = start or str(path)
                inside |= {path / f.path: os.path.relpath(path / f.path, root) for f in found if f.is_image}
                skipped.update(Path(file.path).suffix for file in found if not file.is_image)
            elif not is_pattern or _is_image(path.name):
                inside[path] = os.path.relpath(path, start) if start else path.name
            else:
                skipped[path.suffix] += 1
        if not inside:
            raise DataError(f"{text} holds no image", f"looked for {', '.join(IMAGE_SUFFIXES)}")
        for path, name in inside.items():
            names.setdefault(path, name)
    uses = Counter(names.values())
    return NamedImages(
        {path: shown(name if uses[name] == 1 else path) for path, name in names.items()}, skipped
    )


def _fixed_part(pattern: str) -> str:
    """The folders of a pattern before the first that has a wildcard or a brace."""
    parts = Path(os.path.expanduser(pattern)).parts
    fixed = next((at for at, part in enumerate(parts) if set(part) & set("*?[{")), len(parts) - 1)
    return str(Path(*parts[:fixed]))
