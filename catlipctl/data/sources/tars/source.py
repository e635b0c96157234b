"""Webdataset shards: sample `i` is one read at a known place of a tar; captions alone are a stream."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import ClassVar

from catlipctl.data.sample import Labels, Need, Sample, compact
from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.faults import Faults
from catlipctl.data.sources.shard import CaptionShard
from catlipctl.data.sources.storage import File, ReadFailed
from catlipctl.data.sources.tars.columns import Cell, Keys
from catlipctl.data.sources.tars.index import NOT_TEXT
from catlipctl.data.sources.tars.index_file import read_index
from catlipctl.data.sources.tars.run import Plan
from catlipctl.data.sources.tars.samples import Samples
from catlipctl.data.sources.tars.section import Section
from catlipctl.data.sources.tars.usable import check_fields, count_damage, keep_usable, no_samples, usable
from catlipctl.progress import SILENT, Progress


class TarSource:
    """Pairs in webdataset tars, in the order of the shards, in a shard that of each sample's first member.

    captions are read from each of `caption_keys`; without any from `txt`, else from `json:caption`.
    `need` says what a sample must have to be one. cache: where the index is kept; None keeps it nowhere.

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
        cache: Path | None,
        progress: Progress = SILENT,
    ) -> None:
        self.name = name
        found = Faults()
        index = read_index(files, cache, progress)
        count_damage(files, index, found)
        if strict:
            found.refuse_damaged_shards()
        if not len(index):
            raise no_samples(name, files, found)
        keys = Keys(image_key, caption_keys, label_key)
        self._samples = samples = Samples(files, index, keys)
        captions = keys.captions if need == "captions" or caption_keys else []
        check_fields(name, samples, captions, keys.label if label_key else None)
        keep_usable(name, samples, need, found)
        for number in range(len(keys.captions)):
            column = [cells.captions[number] for cells in samples.cells]
            found.add(kinds.NOT_UTF8, samples.count([cell.state == NOT_TEXT for cell in column]))
            found.add(kinds.LONG_CAPTION, samples.count([cell.too_long for cell in column]))
        self._labelled = samples.count([cells.label.has for cells in samples.cells]) > 0
        self._plans = [
            Plan.of(signature, cells.image, [*cells.captions, cells.label])
            for signature, cells in zip(index.signatures, samples.cells, strict=True)
        ]
        self.faults: Mapping[str, int] = found.counts()
        used = [list(file) for file, size in zip(files, index.shards[:, 0], strict=True) if size]
        self.shards = len(used)
        """How many tars are used."""
        chosen = [[list(key) for key in column] for column in [keys.image, *keys.captions]]
        identity = [used, chosen, label_key, need]
        self.fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
        found.tell(progress)

    @property
    def shard_sizes(self) -> list[int]:
        """How many samples each tar with any holds."""
        return [size for size in self._samples.shard_sizes if size]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        place = self._samples.place(index)
        plan, cells = self._plans[place.signature], self._samples.cells[place.signature]
        try:
            bodies = place.file.read_many(*place.ranges(plan))
        except ReadFailed as error:
            # Its key stands where nothing can be read.
            raise error.in_sample(str(index)) from error
        key, found = place.key(plan, bodies), place.members(plan, bodies)
        return Sample(
            key=str(index) if key is None else key.decode(errors="replace"),
            # None where it has none, or the tar has become shorter since it was indexed.
            image=found.get(cells.image.member),
            captions=tuple(text for cell in cells.captions for text in cell.texts(found.get(cell.member))),
            labels=cells.label.labels(found.get(cells.label.member)),
        )

    def captions(self) -> Iterator[tuple[str, ...]]:
        """The captions of all samples in storage order."""
        for _, columns, found in _texts(self._samples, [cells.captions for cells in self._samples.cells]):
            for cells, members in zip(columns, found, strict=True):
                said = [cell.texts(members.get(cell.member)) for cell in cells]
                yield said[0] if len(said) == 1 else tuple(chain.from_iterable(said))

    def labels(self) -> list[Labels]:
        """The classes of every sample in storage order."""
        if not self._labelled:
            return [None] * len(self)
        return compact(
            cell.labels(members.get(cell.member))
            for _, columns, found in _texts(self._samples, [(cells.label,) for cells in self._samples.cells])
            for (cell,), members in zip(columns, found, strict=True)
        )


@dataclass(frozen=True)
class TarCaptions(CaptionShard):
    """A tar whose samples are those of `TarSource`: captions without an image are left out and counted.

    Its headers and its captions are read, images never. cache: where its index is kept.
    """

    cache: Path
    kind: ClassVar[str] = "tar"

    def _samples(self, found: Faults) -> Iterator[tuple[str, ...]]:
        index = read_index([self.file], self.cache)
        count_damage([self.file], index, found)
        samples = Samples([self.file], index, Keys(self.image_key, self.caption_keys, None))
        there = [cells.has_caption or cells.has_blank for cells in samples.cells]
        samples.keep(usable(samples, there, kinds.NO_CAPTION, there, found))
        for section, columns, read in _texts(samples, [cells.captions for cells in samples.cells]):
            for number, (cells, members) in enumerate(zip(columns, read, strict=True)):
                wrong: list[str] = []
                said = tuple(
                    text
                    for cell in cells
                    for text in cell.texts(members.get(cell.member), wrong.append, blank=("",))
                )
                for kind in wrong if said else [*wrong, kinds.NO_CAPTION]:
                    # A name costs a read; the first is told.
                    name = "" if kind in found.examples() else samples.name(section.place(number))
                    found.add(kind, 1, name)
                if said:
                    yield said


def _texts(
    samples: Samples, columns: Sequence[tuple[Cell, ...]]
) -> Iterator[tuple[Section, list[tuple[Cell, ...]], Iterator[dict[int, bytes]]]]:
    """Samples in storage order, some at a time: of each the cells of its signature, and what is in them."""
    signatures = samples.index.signatures
    plans = [Plan.of(signature, texts=cells) for signature, cells in zip(signatures, columns, strict=True)]
    for section in samples.sections():
        yield section, [columns[number] for number in section.signatures.tolist()], section.read(plans)
