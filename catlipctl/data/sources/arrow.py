"""Rows of Arrow tables: those of a `datasets.Dataset`, memory-mapped and undecoded (Parquet, saved
datasets and what the Hub holds are read so), and captions alone, batch by batch.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from catlipctl.data.sample import Labels, Sample, compact
from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.columns import Columns, is_binary, is_list, is_string, values
from catlipctl.data.sources.faults import MAX_CAPTION_BYTES, MAX_IMAGE_BYTES, Faults, labels_of, texts
from catlipctl.data.sources.shard import CaptionShard
from catlipctl.data.sources.storage import read_file
from catlipctl.errors import DataError
from catlipctl.progress import SILENT, Progress

if TYPE_CHECKING:
    import datasets

BATCH = 1024


class DatasetSource:
    """The rows of a dataset that have what `columns.need` says.

    root: where relative paths in the image column start. rows_a_shard: rows of each file that it was made of.

    Raises:
        DataError: no row is left.
    """

    def __init__(
        self,
        name: str,
        dataset: "datasets.Dataset",
        columns: Columns,
        *,
        root: Path = Path(),
        rows_a_shard: Sequence[int] = (),
        found: Faults | None = None,
        fingerprint: str,
        progress: Progress = SILENT,
    ) -> None:
        self.name = name
        self.shards = len(rows_a_shard) or 1
        self._columns, self._root = columns, root
        self._image_column = str(columns.image)
        # Arrow's own rows: no column is decoded, images least of all.
        self._table = dataset.select_columns(columns.all()).with_format("arrow")
        feature = dataset.features[columns.label] if columns.label else None
        # Of a list of classes, those of what it lists.
        self._label_names: list[str] | None = getattr(getattr(feature, "feature", feature), "names", None)
        found = found or Faults()
        self._rows = self._usable(found)
        if not len(self._rows):
            raise DataError(
                f"{name} has no usable row: {found or 'it is empty'}", "look at the data's columns"
            )
        bounds = np.searchsorted(self._rows, np.cumsum([0, *(rows_a_shard or [len(dataset)])]))
        self.shard_sizes = [size for size in np.diff(bounds).tolist() if size]
        self.faults: Mapping[str, int] = found.counts()
        chosen = json.dumps([fingerprint, columns.all(), columns.need])
        self.fingerprint = hashlib.sha256(chosen.encode()).hexdigest()[:32]
        found.tell(progress)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        number = int(self._rows[index])
        row = self._table[number]
        captions = tuple(text for name in self._columns.captions for text in texts(values(row[name])))
        labels = row[self._columns.label][0].as_py() if self._columns.label else None
        return Sample(str(number), self._image(row[self._image_column][0]), captions, self._spell(labels))

    def captions(self) -> Iterator[tuple[str, ...]]:
        """The captions of all samples in storage order."""
        names = self._columns.captions
        if not names:
            yield from (() for _ in range(len(self)))
            return
        for columns in self._batches(names):
            yield from map(texts, zip(*map(values, columns), strict=True))

    def labels(self) -> list[Labels]:
        """The classes of every sample in storage order."""
        if self._columns.label is None:
            return [None] * len(self)
        batches = self._batches([self._columns.label])
        return compact(self._spell(value) for columns in batches for value in columns[0].to_pylist())

    def _batches(self, names: Sequence[str]) -> Iterator[list[pa.ChunkedArray]]:
        """Some columns of the usable rows, a thousand rows at a time."""
        start = 0
        for batch in self._table.select_columns(list(names)).iter(BATCH):
            first, last = np.searchsorted(self._rows, [start, start + len(batch)])
            rows = self._rows[first:last] - start
            yield [batch[name].take(rows) for name in names]
            start += len(batch)

    def _image(self, value: pa.Scalar) -> bytes | None:
        kind = value.type
        if pa.types.is_struct(kind):
            inside = value["bytes"]
            if inside.is_valid:
                return _bounded(inside)
            value = (
                value["path"] if "path" in [field.name for field in kind] else pa.scalar(None, pa.string())
            )
        elif is_binary(kind):
            return _bounded(value)
        return read_file(self._root / value.as_py(), MAX_IMAGE_BYTES) if value.is_valid else None

    def _spell(self, value: Any) -> Labels:
        """The classes that a row names, or numbers where the dataset has names for them; -1 is for none."""
        if self._label_names is None or value is None:
            return labels_of(value)
        known = range(len(self._label_names))
        if isinstance(value, list):
            return labels_of([self._label_names[number] for number in value if number in known])
        return labels_of(self._label_names[value]) if value in known else None

    def _usable(self, found: Faults) -> NDArray[np.int64]:
        """Numbers of the rows that have an image and what is needed; the others are counted."""
        need, columns = self._columns.need, self._columns
        kept: list[NDArray[np.int64]] = []
        start = 0
        for batch in self._table.iter(BATCH):
            image = _has_image(batch[self._image_column])
            needed = np.ones(len(batch), np.bool_)
            if columns.captions:
                caption = np.logical_or.reduce([_has_text(batch[name], found) for name in columns.captions])
                found.add(kinds.NO_IMAGE, int((caption & ~image).sum()))
                long = [_too_long(batch[name]) for name in columns.captions]
                found.add(kinds.LONG_CAPTION, int((image & np.logical_or.reduce(long)).sum()))
                needed = caption if need == "captions" else needed
            if need == "labels":
                needed = ~batch[str(columns.label)].is_null().to_numpy()
            found.add(kinds.NO_LABEL if need == "labels" else kinds.NO_CAPTION, int((image & ~needed).sum()))
            kept.append(start + np.flatnonzero(image & needed))
            start += len(batch)
        return np.concatenate(kept) if kept else np.zeros(0, np.int64)


class TableCaptions(CaptionShard):
    """The caption columns of an Arrow schema, and their texts."""

    def _columns(self, schema: pa.Schema) -> list[str]:
        where, keys = self.file.path, self.caption_keys
        return Columns.of_schema(where, schema, caption_keys=keys, need_image=False).captions

    def _texts(
        self,
        batch: pa.RecordBatch,
        columns: list[str],
        first: int,
        found: Faults,
        fetched: Sequence[bool] | None = None,
    ) -> Iterator[tuple[str, ...]]:
        """The captions of the rows that have any. first: the first row. fetched: whether it has an image."""
        where = f"{self.file.name}, row"

        def fault(row: int, kind: str) -> None:
            found.add(kind, 1, f"{where} {row}")

        rows = zip(*(values(batch[name]) for name in columns), strict=True)
        for at, row in enumerate(rows):
            if fetched is not None and not fetched[at]:
                continue
            said = texts(row, partial(fault, first + at))
            if said:
                yield said
            else:
                fault(first + at, kinds.NO_CAPTION)


def _bounded(value: pa.Scalar) -> bytes | None:
    buffer = value.as_buffer()
    return None if buffer is None or buffer.size > MAX_IMAGE_BYTES else buffer.to_pybytes()


def _has_image(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    kind = column.type
    if not pa.types.is_struct(kind):
        return column.is_valid().to_numpy()
    has = pc.struct_field(column, "bytes").is_valid()
    if "path" in [field.name for field in kind]:
        has = pc.or_(has, pc.struct_field(column, "path").is_valid())
    return has.to_numpy()


def _lengths(column: pa.ChunkedArray) -> NDArray[np.int64]:
    lengths = pc.list_value_length(column) if is_list(column.type) else pc.binary_length(column)
    return pc.fill_null(lengths, 0).to_numpy()


def _has_text(column: pa.ChunkedArray, found: Faults) -> NDArray[np.bool_]:
    if is_string(column.type):
        try:
            column = pc.utf8_trim_whitespace(column)
        except pa.ArrowInvalid:
            wrong: list[str] = []
            has = np.array([any(texts(value, wrong.append)) for value in values(column)])
            found.add(kinds.NOT_UTF8, wrong.count(kinds.NOT_UTF8))
            return has
    return _lengths(column) > 0


def _too_long(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    if is_list(column.type):
        return np.array(
            [any(len(text or "") > MAX_CAPTION_BYTES for text in row or ()) for row in values(column)]
        )
    return _lengths(column) > MAX_CAPTION_BYTES
