"""Captions in text files: `NAME.txt` beside each image (kohya's layout), or one file with one a line.

A folder is opened as pairs where it has such captions, as class folders by its sub-folders' names, or as
images alone; its captions by themselves are a stream, as those of a text file are, which has no images.
"""

import io
import json
import os
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

from catlipctl.data.sample import Need
from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.faults import MAX_CAPTION_BYTES, Faults, texts
from catlipctl.data.sources.image_files import ImageFileSource, Picture, files_below, fingerprint_of, shown
from catlipctl.data.sources.shard import CaptionShard
from catlipctl.data.sources.storage import File, read_file
from catlipctl.data.sources.tars import Key, fields
from catlipctl.errors import DataError, UsageError
from catlipctl.progress import SILENT, Progress

NO_CAPTIONS_HINT = (
    "it serves `catlipctl eval`; to learn from captions, give tars, Parquet or a listing, "
    "or put NAME.txt beside each image"
)
NO_IMAGES_HINT = "it serves `catlipctl vocab build`; where images are needed, give tars, Parquet or a listing"
LARGE_FILE = 256 * 2**20
PART = 64 * 2**20
_USUAL = ("txt",)


class Pair(NamedTuple):
    """An image with the captions beside it; captions: '' where a file is empty."""

    image: Picture
    captions: tuple[str, ...]


def open_folder(
    name: str,
    folder: Path,
    *,
    image_key: str | None = None,
    caption_keys: Sequence[str] = (),
    label_key: str | None = None,
    need: Need = "captions",
    progress: Progress = SILENT,
) -> ImageFileSource:
    """The images below a folder, with the captions in `NAME.txt` beside `NAME.jpg`, or labels, or neither.

    caption_keys: extensions of the text files, or `json:FIELD`. The label of an image is the name of the
    folder's sub-folder in which it is, however deep.

    Raises:
        DataError: there is no image, or none with what is needed. ReadFailed: a caption cannot be read.
        UsageError: a label key is given, and a folder has none.
    """
    if label_key is not None:
        raise UsageError(
            f"--label-key {label_key}: {name} is a folder of images; its sub-folders' names are the labels",
            "leave out --label-key",
        )
    files = files_below(folder)
    images = _images(files, image_key)
    if not images:
        raise DataError(
            f"{name} holds no tars, no Parquet, no saved dataset, no metadata.csv or .jsonl, and no images",
            "SOURCE may also be a listing (CSV, TSV or JSONL with filepath and title)",
        )
    found = Faults()
    wants_captions = need in ("captions", "any")
    read = list(_pairs(folder, files, images, caption_keys, found)) if wants_captions else []
    pairs = [Pair(image, captions) for image, said in read if (captions := tuple(filter(None, said)))]
    if pairs:
        found.add(kinds.NO_CAPTION, len(images) - len(pairs), _first_without(images, pairs))
        images = [pair.image for pair in pairs]
    elif need == "captions":
        raise _without_captions(name, images, caption_keys)
    else:
        found = Faults()  # what would be wrong with captions
        if need != "images":
            images = _in_classes(name, images, found)
    found.tell(progress)
    classes = [shown(image.place[0]) for image in images]
    return ImageFileSource(
        name,
        folder,
        [image.path for image in images],
        captions=[pair.captions for pair in pairs] or None,
        labels=[(label,) if label else None for label in classes] if any(classes) else None,
        faults=found.counts(),
        fingerprint=fingerprint_of(folder, files if pairs else images),
    )


def _images(files: Sequence[Picture], image_key: str | None) -> list[Picture]:
    if image_key is None:
        return [file for file in files if file.is_image]
    return [file for file in files if file.path.lower().endswith(f".{Key.parse(image_key).extension}")]


def _in_classes(name: str, images: list[Picture], found: Faults) -> list[Picture]:
    """The images that lie in a sub-folder; the others are counted."""
    inside = [image for image in images if image.place[0]]
    if not inside:
        raise DataError(
            f"{name} holds images, but no class folders with images, and no captions beside them",
            "put the images of each class into a sub-folder that bears its name",
        )
    outside = next((image.path for image in images if not image.place[0]), "")
    found.add(kinds.NO_LABEL, len(images) - len(inside), outside)
    return inside


def _first_without(images: Sequence[Picture], pairs: Sequence[Pair]) -> str:
    there = {pair.image.path for pair in pairs}
    return next((image.path for image in images if image.path not in there), "")


def _without_captions(name: str, images: Sequence[Picture], caption_keys: Sequence[str]) -> DataError:
    looked = " or ".join(f"NAME.{Key.parse(key).extension}" for key in caption_keys or _USUAL)
    beside = f"no {looked} lies beside them"
    if any(image.place[0] for image in images):
        return DataError(
            f"{name} is class folders: its images have labels but no captions ({beside})", NO_CAPTIONS_HINT
        )
    return DataError(
        f"{name} holds no tars, no Parquet and no metadata.csv or .jsonl, and its images have no captions: "
        f"{beside}",
        "name the extension of the captions' files: --caption-key EXTENSION",
    )


def _pairs(
    folder: Path, files: Sequence[Picture], images: Sequence[Picture], keys: Sequence[str], found: Faults
) -> Iterator[Pair]:
    """Each image with text files beside it, and what they say; a text without an image is counted."""
    wanted = [Key.parse(key) for key in keys or _USUAL]
    beside: dict[str, dict[str, str]] = {}
    for file in files:
        extension = file.path[len(file.stem) + 1 :].lower()
        if any(key.extension == extension for key in wanted):
            beside.setdefault(file.stem, {})[extension] = file.path
    for image in images:
        said = beside.get(image.stem, {})
        captions = [
            text
            for key in wanted
            if key.extension in said
            for text in _texts(folder / said[key.extension], key, partial(found.add, example=image.path))
        ]
        if captions:
            yield Pair(image, tuple(captions))
    stems = {image.stem for image in images}
    lost = [next(iter(paths.values())) for stem, paths in beside.items() if stem not in stems]
    found.add(kinds.NO_IMAGE, len(lost), lost[0] if lost else "")


def _texts(path: Path, key: Key, fault: "partial[None]") -> tuple[str, ...]:
    # A byte more than a caption may have, so that one that is cut is counted as such.
    body = read_file(path, key.max_bytes if key.field else 16 * MAX_CAPTION_BYTES)
    if body is None:
        return ()
    return texts(body if key.field is None else fields(body).get(key.field), fault)


@dataclass(frozen=True)
class FolderCaptions(CaptionShard):
    """The captions beside the images below a folder; those without an image are left out and counted."""

    kind: ClassVar[str] = "folder"

    @classmethod
    def of(cls, folder: Path, image_key: str | None, caption_keys: tuple[str, ...]) -> "FolderCaptions":
        """The shard of a folder as it is now.

        Raises:
            DataError: no caption lies beside an image.
        """
        files = files_below(folder)
        extensions = {Key.parse(key).extension for key in caption_keys or _USUAL}
        written = [file for file in files if file.path[len(file.stem) + 1 :].lower() in extensions]
        images = _images(files, image_key)
        if not {file.stem for file in written} & {image.stem for image in images}:
            raise DataError(
                f"{folder} is a folder without captions: it has no tars, no Parquet, no saved dataset, "
                "no metadata.csv or .jsonl, and no text files beside images",
                NO_CAPTIONS_HINT,
            )
        size = sum(int(file.stamp.split(" ")[0]) for file in written)
        file = File(os.path.abspath(folder), size, fingerprint_of(folder, files))
        return cls(file, image_key, caption_keys)

    def _samples(self, found: Faults) -> Iterator[tuple[str, ...]]:
        folder = Path(self.file.path)
        files = files_below(folder)
        images = _images(files, self.image_key)
        without = {image.path for image in images}
        for image, captions in _pairs(folder, files, images, self.caption_keys, found):
            without.discard(image.path)
            yield captions
        found.add(kinds.NO_CAPTION, len(without), min(without, default=""))


@dataclass(frozen=True)
class LineCaptions(CaptionShard):
    """The lines of a text file, each a caption; an empty line is an empty caption.

    first, stop: the bytes among which its lines begin; stop is None for the whole file.
    """

    first: int = 0
    stop: int | None = None
    kind: ClassVar[str] = "text"

    @property
    def name(self) -> str:
        """Path or URL of the file, and which bytes."""
        return self.file.path + (f" (bytes {self.first:,} to {self.stop:,})" if self.stop else "")

    @property
    def size(self) -> int:
        """The bytes among which its lines begin."""
        return (self.stop or self.file.size) - self.first

    @property
    def identity(self) -> str:
        """Changes with the file and the part."""
        return json.dumps([self.kind, *self.file, self.first, self.stop])

    def _samples(self, found: Faults) -> Iterator[tuple[str, ...]]:
        with self.file.open() as stream:
            # The line in which the part begins is of the part before, unless it begins there itself.
            stream.seek(max(0, self.first - 1))
            at = self.first and self.first - 1 + _skip_line(stream)
            while self.stop is None or at < self.stop:
                line = stream.readline(MAX_CAPTION_BYTES + 1)
                if not line:
                    return
                said = line.removeprefix(BOM_UTF8) if at == 0 else line
                if said:  # not a file that is its byte order mark alone
                    yield texts(said, partial(found.add, example=f"{self.file.name} at byte {at:,}"))
                at += len(line) if line.endswith(b"\n") else len(line) + _skip_line(stream)


def _skip_line(stream: io.BufferedReader) -> int:
    """Go to the next line; how many bytes that was."""
    skipped = 0
    while part := stream.readline(MAX_CAPTION_BYTES):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


def line_shards(file: File) -> list[LineCaptions]:
    """The file as one shard; a large one in parts, so that many can count it at once."""
    if file.size < LARGE_FILE:
        return [LineCaptions(file, None, ())]
    starts = range(0, file.size, PART)
    return [LineCaptions(file, None, (), at, min(at + PART, file.size)) for at in starts]
