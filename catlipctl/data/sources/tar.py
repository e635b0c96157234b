"""Webdataset shards: sample `i` is a few reads at known places of a tar; captions alone are a stream."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from catlipctl.data.sample import Need, Sample
from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.faults import Faults
from catlipctl.data.sources.shard import CaptionShard
from catlipctl.data.sources.storage import File, ReadFailed
from catlipctl.data.sources.tar_columns import Samples, fields
from catlipctl.data.sources.tar_index import ShardIndex, read_indexes
from catlipctl.errors import DataError
from catlipctl.progress import SILENT, Progress

_PROBED = 32


class TarSource:
    """Pairs in webdataset tars, in the order of the shards, in a shard that of each sample's first member.

    captions are read from each of `caption_keys`; without any from `txt`, else from `json:caption`.
    `need` says what a sample must have to be one.

    Raises:
        DataError: no sample is left, or `strict` and a shard is not whole. ReadFailed: one cannot be read.
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
        used, indexes = _with_samples(files, read_indexes(files, cache, progress), found)
        if strict:
            found.refuse_damaged_shards()
        if not indexes:
            raise _empty(name, files, found)
        self._samples = Samples(used, indexes, image_key, caption_keys, label_key)
        self._check_fields(asked=bool(caption_keys), need=need, label_asked=label_key is not None)
        self._keep_usable(indexes, need, label_key, found)
        for column in self._samples.captions:
            found.add(kinds.NOT_UTF8, int((column.has & ~column.utf8).sum()))
            found.add(kinds.LONG_CAPTION, int(column.too_long.sum()))
        self._labelled = bool(self._samples.label.has.any())
        self.faults: Mapping[str, int] = found.counts()
        chosen = [
            [list(key) for key in column.keys] for column in [self._samples.image, *self._samples.captions]
        ]
        identity = [[list(file) for file in used], chosen, label_key, need]
        self.fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
        found.tell(progress)

    @property
    def shards(self) -> int:
        """How many tars are used."""
        return len(self._samples.files)

    @property
    def shard_sizes(self) -> list[int]:
        """How many samples each tar with any holds."""
        return [size for size in np.bincount(self._samples.shard).tolist() if size]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        samples, row = self._samples, range(index, index + 1)
        file = samples.files[samples.shard[index]]
        try:
            label = samples.label.texts(file, row)[0] if self._labelled else ()
            return Sample(
                key=samples.key(index),
                image=self._read_image(file, index),
                captions=tuple(text for column in samples.captions for text in column.texts(file, row)[0]),
                label=label[0] if label else None,
            )
        except ReadFailed as error:
            raise error.in_sample(samples.key(index)) from error

    def captions(self) -> Iterator[tuple[str, ...]]:
        """The captions of all samples in storage order."""
        for file, rows in self._samples.runs():
            columns = [column.texts(file, rows) for column in self._samples.captions]
            for groups in zip(*columns, strict=True):
                yield tuple(text for group in groups for text in group)

    def labels(self) -> list[str | None]:
        """The class label of every sample in storage order."""
        if not self._labelled:
            return [None] * len(self)
        runs = (self._samples.label.texts(file, rows) for file, rows in self._samples.runs())
        return [label[0] if label else None for run in runs for label in run]

    def _read_image(self, file: File, index: int) -> bytes | None:
        """Its bytes; None where it has none, or the tar has become shorter since it was indexed."""
        column = self._samples.image
        if column.which[index] < 0:
            return None
        size = int(column.size[index])
        image = file.read(int(column.offset[index]), size)
        return image if len(image) == size else None

    def _keep_usable(
        self, indexes: Sequence[ShardIndex], need: Need, label_key: str | None, found: Faults
    ) -> None:
        """Keep the samples that have what is needed; what is left out is counted.

        Raises:
            DataError: none is left.
        """
        samples, asked = self._samples, need
        caption = samples.has_caption
        if need == "any":
            need = "captions" if (samples.image.has & caption).any() else "labels"
        needed, lacking = {
            "captions": (caption, kinds.NO_CAPTION),
            "labels": (samples.label.has, kinds.NO_LABEL),
            "images": (np.ones_like(caption), ""),
        }[need]
        usable = samples.usable(needed, lacking, caption, found)
        if not len(usable):
            raise _unusable(self.name, indexes, asked, samples, label_key, found)
        samples.keep(usable)

    def _check_fields(self, *, asked: bool, need: Need, label_asked: bool) -> None:
        """Look into a few JSON members for the fields that were asked for: a misspelt one would give nothing.

        Raises:
            DataError: none of the looked-at members has the field.
        """
        samples = self._samples
        columns = [*samples.captions] if need == "captions" or asked else []
        columns += [samples.label] if label_asked else []
        for column in columns:
            rows = np.flatnonzero(column.has & samples.image.has)
            keys = {column.keys[which] for which in np.unique(column.which[rows])}
            if not keys or any(key.field is None for key in keys):
                continue
            seen: Counter[str] = Counter()
            for row in rows[np.linspace(0, len(rows) - 1, min(len(rows), _PROBED)).astype(int)]:
                size = min(int(column.size[row]), column.keys[0].max_bytes)
                document = fields(samples.files[samples.shard[row]].read(int(column.offset[row]), size))
                seen.update(name for name, value in document.items() if value is not None)
            if not any(key.field in seen for key in keys):
                there = ", ".join(f"{name} ({count})" for name, count in sorted(seen.items())[:40])
                wanted = " or ".join(str(key) for key in keys)
                option = "--label-key" if column is samples.label else "--caption-key"
                raise DataError(
                    f"{self.name} has no {wanted}: the fields in {_PROBED} JSON members are {there}",
                    f"choose one with {option} {next(iter(keys)).extension}:FIELD",
                )


@dataclass(frozen=True)
class TarCaptions(CaptionShard):
    """A tar whose samples are those of `TarSource`: captions without an image are left out and counted.

    Its headers and its captions are read, images never. cache: where its index is kept.
    """

    cache: Path
    kind: ClassVar[str] = "tar"

    def _samples(self, found: Faults) -> Iterator[tuple[str, ...]]:
        used, indexes = _with_samples([self.file], read_indexes([self.file], self.cache), found)
        if not indexes:
            return
        samples = Samples(used, indexes, self.image_key, self.caption_keys)
        blank = np.logical_or.reduce([column.blank for column in samples.captions])
        there = samples.has_caption | blank
        samples.keep(samples.usable(there, kinds.NO_CAPTION, there, found))

        def fault(row: int, kind: str) -> None:
            found.add(kind, 1, samples.where(row))

        for file, rows in samples.runs():
            columns = [column.texts(file, rows, fault, blank=("",)) for column in samples.captions]
            for row, groups in zip(rows, zip(*columns, strict=True), strict=True):
                said = tuple(text for group in groups for text in group)
                if said:
                    yield said
                else:
                    fault(row, kinds.NO_CAPTION)


def _with_samples(
    files: Sequence[File], indexes: Sequence[ShardIndex], found: Faults
) -> tuple[list[File], list[ShardIndex]]:
    """The shards with a sample in them; the damage of all is counted."""
    for file, index in zip(files, indexes, strict=True):
        if index.damage and (len(index) or index.damaged_at):
            found.add(index.damage, 1, f"{file.path} at byte {index.damaged_at:,} of {file.size:,}")
        elif index.damage:
            found.add(kinds.UNREADABLE, 1, f"{file.path}: {'empty file' if file.size == 0 else 'not a tar'}")
    kept = [(file, index) for file, index in zip(files, indexes, strict=True) if len(index)]
    return [file for file, _ in kept], [index for _, index in kept]


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
    samples: Samples,
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
    if not samples.image.has.any():
        looked = ", ".join(str(key) for key in samples.image.keys)
        return DataError(
            f"{name} has no images: its shards hold {there}; looked for {looked}",
            "say which extension is the image: --image-key EXTENSION",
        )
    if need == "labels":
        return DataError(
            f"{name} has images but no labels: its shards hold {there}; looked for {label_key or 'cls'}",
            "say where the class is: --label-key cls or --label-key json:FIELD",
        )
    looked = ", ".join(str(key) for column in samples.captions for key in column.keys)
    return DataError(
        f"{name} has images but no captions to them: its shards hold {there}; looked for {looked}",
        "say where the caption is: --caption-key EXTENSION or --caption-key json:FIELD",
    )
