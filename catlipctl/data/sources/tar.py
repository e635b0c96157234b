"""Webdataset shards, read at random: sample `i` is a few reads at known places of a tar, local or remote."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from catlipctl.data.sample import Sample
from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.faults import MAX_IMAGE_BYTES, Faults
from catlipctl.data.sources.storage import File
from catlipctl.data.sources.tar_columns import Column
from catlipctl.data.sources.tar_index import IMAGE_EXTENSIONS, ShardIndex, read_indexes
from catlipctl.data.sources.text import Key, fields
from catlipctl.errors import DataError
from catlipctl.progress import SILENT, Progress

Need = Literal["captions", "labels", "images", "any"]
CHUNK = 1024
_PROBED = 32


class TarSource:
    """Pairs in webdataset tars, in the order of the shards, in a shard that of each sample's first member.

    captions are read from each of `caption_keys`; without any from `txt`, else from `json:caption`.
    `need` says what a sample must have to be one.

    Raises:
        DataError: no sample is left, or `strict` and a shard is not whole.
    """

    def __init__(
        self,
        name: str,
        files: Sequence[File],
        *,
        image_key: str | None = None,
        caption_keys: Sequence[str] = (),
        label_key: str | None = None,
        need: Need = "captions",
        strict: bool = False,
        cache: Path,
        progress: Progress = SILENT,
    ) -> None:
        self.name = name
        found = Faults()
        self._files, indexes = readable(files, read_indexes(files, cache, progress), found)
        if strict:
            found.refuse_damaged_shards()
        if not any(len(index) for index in indexes):
            raise _empty(name, files, found)

        images, captions = image_keys(image_key), alternatives(caption_keys)
        self._image = Column.find(images, indexes)
        self._captions = [Column.find(keys, indexes) for keys in captions]
        self._label = Column.find([Key.parse(label_key or "cls")], indexes)
        self._shard = np.repeat(np.arange(len(indexes), dtype=np.int32), [len(index) for index in indexes])
        self._row = np.concatenate([np.arange(len(index), dtype=np.int32) for index in indexes])
        self._check_fields(asked=bool(caption_keys), need=need, label_asked=label_key is not None)

        usable = self._usable(indexes, need, found)
        if not len(usable):
            raise _unusable(
                name, indexes, need, images if not self._image.has.any() else [], captions, label_key, found
            )
        self._image, self._label = self._image.take(usable), self._label.take(usable)
        self._captions = [column.take(usable) for column in self._captions]
        for column in self._captions:
            found.add(kinds.NOT_UTF8, int((column.has & ~column.utf8).sum()))
            found.add(kinds.LONG_CAPTION, int(column.too_long.sum()))
        self._shard, self._row = self._shard[usable], self._row[usable]
        self._labelled = bool(self._label.has.any())
        self._keys = [(index.keys, index.key_ends) for index in indexes]
        self.faults: Mapping[str, int] = found.counts()
        chosen = [[list(key) for key in keys] for keys in [images, *captions]]
        identity = [[list(file) for file in self._files], chosen, label_key, need]
        self.fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
        found.tell(progress)

    @property
    def shards(self) -> int:
        """How many tars are used."""
        return len(self._files)

    def __len__(self) -> int:
        return len(self._shard)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        file = self._files[self._shard[index]]
        label = self._label.texts(file, index, index + 1)[0] if self._labelled else ()
        return Sample(
            key=self._key(index),
            image=self._read_image(file, index),
            captions=tuple(
                text for column in self._captions for text in column.texts(file, index, index + 1)[0]
            ),
            label=label[0] if label else None,
        )

    def captions(self) -> Iterator[tuple[str, ...]]:
        """The captions of all samples in storage order."""
        for file, start, stop in self._chunks():
            columns = [column.texts(file, start, stop) for column in self._captions]
            for texts in zip(*columns, strict=True):
                yield tuple(text for group in texts for text in group)

    def labels(self) -> list[str | None]:
        """The class label of every sample in storage order."""
        if not self._labelled:
            return [None] * len(self)
        chunks = (self._label.texts(file, start, stop) for file, start, stop in self._chunks())
        return [label[0] if label else None for chunk in chunks for label in chunk]

    def _key(self, index: int) -> str:
        keys, ends = self._keys[self._shard[index]]
        row = self._row[index]
        return keys[ends[row - 1] if row else 0 : ends[row]].decode(errors="replace")

    def _read_image(self, file: File, index: int) -> bytes | None:
        if self._image.which[index] < 0:
            return None
        size = int(self._image.size[index])
        try:
            image = file.read(int(self._image.offset[index]), size)
        except OSError:
            return None
        return image if len(image) == size else None

    def _chunks(self) -> Iterator[tuple[File, int, int]]:
        """Runs of at most a thousand samples that lie in one shard."""
        starts = np.searchsorted(self._shard, np.arange(len(self._files) + 1))
        for number, file in enumerate(self._files):
            for start in range(starts[number], starts[number + 1], CHUNK):
                yield file, start, min(start + CHUNK, int(starts[number + 1]))

    def _usable(self, indexes: Sequence[ShardIndex], need: Need, found: Faults) -> NDArray[np.int64]:
        """The samples that have what is needed; what is left out is counted."""
        image = self._image.has
        caption = np.logical_or.reduce([column.has for column in self._captions])
        label = self._label.has
        if need == "any":
            need = "captions" if (image & caption).any() else "labels"
        needed, lacking = {
            "captions": (caption, kinds.NO_CAPTION),
            "labels": (label, kinds.NO_LABEL),
            "images": (np.ones_like(image), ""),
        }[need]

        def where(row: int) -> str:
            shard = self._shard[row]
            return f"{indexes[shard].key(int(self._row[row]))} in {self._files[shard].name}"

        return usable(self._image, caption, needed, lacking, found, where)

    def _check_fields(self, *, asked: bool, need: Need, label_asked: bool) -> None:
        """Look into a few JSON members for the fields that were asked for: a misspelt one would give nothing.

        Raises:
            DataError: none of the looked-at members has the field.
        """
        columns = [*self._captions] if need == "captions" or asked else []
        columns += [self._label] if label_asked else []
        for column in columns:
            rows = np.flatnonzero(column.has & self._image.has)
            keys = {column.keys[which] for which in np.unique(column.which[rows])}
            if not keys or any(key.field is None for key in keys):
                continue
            seen: Counter[str] = Counter()
            for row in rows[np.linspace(0, len(rows) - 1, min(len(rows), _PROBED)).astype(int)]:
                size = min(int(column.size[row]), column.keys[0].max_bytes)
                document = fields(self._files[self._shard[row]].read(int(column.offset[row]), size))
                seen.update(name for name, value in document.items() if value is not None)
            if not any(key.field in seen for key in keys):
                there = ", ".join(f"{name} ({count})" for name, count in sorted(seen.items())[:40])
                wanted = " or ".join(str(key) for key in keys)
                option = "--label-key" if column is self._label else "--caption-key"
                raise DataError(
                    f"{self.name} has no {wanted}: the fields in {_PROBED} JSON members are {there}",
                    f"choose one with {option} {next(iter(keys)).extension}:FIELD",
                )


def image_keys(asked: str | None) -> list[Key]:
    """Where an image may be: as asked for, else by the usual extensions."""
    return [Key.parse(asked)] if asked else [Key(extension) for extension in IMAGE_EXTENSIONS]


def alternatives(asked: Sequence[str]) -> list[list[Key]]:
    """Where each caption of a sample may be; of several places, the first that the sample has."""
    return [[Key.parse(key)] for key in asked] or [[Key("txt"), Key("json", "caption")]]


def usable(
    images: Column,
    caption: NDArray[np.bool_],
    needed: NDArray[np.bool_],
    lacking: str,
    found: Faults,
    where: Callable[[int], str],
) -> NDArray[np.int64]:
    """The samples with an image and what is `needed`; what is left out is counted.

    caption, needed: `[N]`, whether a sample has them. lacking: the fault of an image without what is needed.
    where: a sample's name for messages.
    """
    large = images.has & (images.size > MAX_IMAGE_BYTES)
    whole = images.has & ~large
    for kind, mask in (
        (kinds.NO_IMAGE, caption & ~images.has),
        (kinds.LARGE_IMAGE, large),
        (lacking, whole & ~needed),
    ):
        if mask.any():
            found.add(kind, int(mask.sum()), where(int(np.argmax(mask))))
    return np.flatnonzero(whole & needed)


def readable(
    files: Sequence[File], indexes: Sequence[ShardIndex | OSError], found: Faults
) -> tuple[list[File], list[ShardIndex]]:
    """The shards that gave an index with a member in it; the damage of all is counted."""
    kept_files, kept = [], []
    for file, index in zip(files, indexes, strict=True):
        if isinstance(index, OSError):
            found.add(kinds.UNREADABLE, 1, f"{file.path}: {index.strerror or index}")
            continue
        if index.damage and (len(index) or index.damaged_at):
            found.add(index.damage, 1, f"{file.path} at byte {index.damaged_at:,} of {file.size:,}")
        elif index.damage:
            found.add(kinds.UNREADABLE, 1, f"{file.path}: {'empty file' if file.size == 0 else 'not a tar'}")
        if len(index):
            kept_files.append(file)
            kept.append(index)
    return kept_files, kept


def _empty(name: str, files: Sequence[File], found: Faults) -> DataError:
    what = (
        f"{name} holds no samples"
        if len(files) == 1
        else f"the {len(files)} shards of {name} hold no samples"
    )
    if found:
        return DataError(f"{what}: {found}", "fetch it again: nothing in it can be read")
    return DataError(
        f"{what}: no member is named KEY.EXTENSION", "SOURCE wants webdataset shards: KEY.jpg, KEY.txt, ..."
    )


def _unusable(
    name: str,
    indexes: Sequence[ShardIndex],
    need: Need,
    images_missed: Sequence[Key],
    captions: Sequence[Sequence[Key]],
    label_key: str | None,
    found: Faults,
) -> DataError:
    """Why no sample is left: what was looked for, what is there, and the option that chooses."""
    counts: Counter[str] = Counter()
    for index in indexes:
        for number, count in enumerate(np.bincount(index.extension, minlength=len(index.extensions))):
            counts[index.extensions[number]] += int(count)
    there = ", ".join(f"{extension} ({count:,})" for extension, count in sorted(counts.items())[:40])
    there += f"; {found}" if found else ""
    if images_missed:
        looked = ", ".join(str(key) for key in images_missed)
        return DataError(
            f"{name} has no images: its shards hold {there}; looked for {looked}",
            "say which extension is the image: --image-key EXTENSION",
        )
    if need == "labels":
        return DataError(
            f"{name} has images but no labels: its shards hold {there}; looked for {label_key or 'cls'}",
            "say where the class is: --label-key cls or --label-key json:FIELD",
        )
    looked = ", ".join(str(key) for keys in captions for key in keys)
    return DataError(
        f"{name} has images but no captions to them: its shards hold {there}; looked for {looked}",
        "say where the caption is: --caption-key EXTENSION or --caption-key json:FIELD",
    )
