"""The captions of a Parquet file, or of a run of its row groups; no other column is read."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catlipctl.data.sources import columns as table
from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.columns import is_list, is_string, is_text
from catlipctl.data.sources.faults import Faults, tolerated
from catlipctl.data.sources.patterns import is_url
from catlipctl.data.sources.storage import File
from catlipctl.data.sources.text import captions

LARGE_FILE = 256 * 2**20
"""From here on the main process looks into a file for its row groups, which costs a read, not a stat."""
ROWS_A_SHARD = 1_000_000
_ROWS_AT_ONCE = 1024
_BUFFER = 2**20
_IMG2DATASET = {"key", "url", "status"}
_STATUS = "status"


@dataclass(frozen=True)
class ParquetCaptions:
    """Rows with captions. img2dataset's Parquet has a row for every URL that it tried: those without an image
    are left out and counted.

    first, stop: the run of row groups; stop is None for the whole file. share: how much of the file it is.
    """

    file: File
    caption_keys: tuple[str, ...]
    first: int = 0
    stop: int | None = None
    share: float = 1.0

    @property
    def name(self) -> str:
        """Path or URL of the file, and which row groups."""
        return self.file.path + (f" (row groups {self.first} to {self.stop - 1})" if self.stop else "")

    @property
    def size(self) -> int:
        """About how many bytes of the file they are."""
        return int(self.file.size * self.share)

    @property
    def identity(self) -> str:
        """Changes with the file and with what is read of it."""
        return json.dumps(["parquet", *self.file, self.caption_keys, self.first, self.stop])

    def check(self) -> None:
        """Look for the columns.

        Raises:
            DataError: there is none, or not the one asked for. OSError, ArrowException: it cannot be read.
        """
        with _opened(self.file) as parquet:
            self._columns(parquet.schema_arrow)

    def read(self, found: Faults) -> Iterator[tuple[str, ...]]:
        """The captions of each row, in order.

        Raises:
            DataError: the columns are missing.
        """
        return tolerated(self.file.path, self._read(found), found)

    def _read(self, found: Faults) -> Iterator[tuple[str, ...]]:
        done = 0
        try:
            with _opened(self.file) as parquet:
                schema = parquet.schema_arrow
                columns = self._columns(schema)
                status = [_STATUS] if set(schema.names) >= _IMG2DATASET else []
                groups = range(self.first, parquet.num_row_groups if self.stop is None else self.stop)
                start = sum(parquet.metadata.row_group(group).num_rows for group in range(self.first))
                for batch in parquet.iter_batches(_ROWS_AT_ONCE, list(groups), [*columns, *status]):
                    yield from self._texts(batch, columns, start + done, found)
                    done += len(batch)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0] if self.file.size else "empty or missing file"
            found.add(kinds.DAMAGED if done else kinds.UNREADABLE, 1, f"{self.name}: {reason}")

    def _columns(self, schema: pa.Schema) -> list[str]:
        shown = {field.name: str(field.type) for field in schema}
        texts = {name: kind for name, kind in shown.items() if is_text(schema.field(name).type)}
        path = self.file.path
        table.refuse_unfit(path, shown, texts, self.caption_keys, "--caption-key")
        columns = shown if self.caption_keys else texts
        chosen = table.choose(path, columns, self.caption_keys, table.CAPTION_NAMES, "--caption-key")
        table.require(path, shown, chosen, "captions", "--caption-key")
        return chosen

    def _texts(
        self, batch: pa.RecordBatch, columns: list[str], first: int, found: Faults
    ) -> Iterator[tuple[str, ...]]:
        where = f"{self.file.name}, row"
        fetched = [True] * len(batch)
        if _STATUS in batch.schema.names and _STATUS not in columns:
            fetched = pc.fill_null(pc.equal(batch[_STATUS], "success"), False).to_pylist()
            missed = fetched.count(False)
            found.add(kinds.NO_IMAGE, missed, f"{where} {first + fetched.index(False)}" if missed else "")
        values = zip(*(_values(batch[name]) for name in columns), strict=True)
        for at, (there, row) in enumerate(zip(fetched, values, strict=True), start=first):
            if not there:
                continue
            said = tuple(text for value in row for text in captions(value, found, where, at))
            if said:
                yield said
            else:
                found.add(kinds.NO_CAPTION, 1, f"{where} {at}")


def parquet_shards(file: File, caption_keys: tuple[str, ...]) -> list[ParquetCaptions]:
    """The file as one shard; a large one as runs of row groups with about a million rows each."""
    whole = ParquetCaptions(file, caption_keys)
    if file.size < LARGE_FILE:
        return [whole]
    try:
        with _opened(file) as parquet:
            rows = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
    except (pa.ArrowException, OSError):
        return [whole]
    runs: list[tuple[int, int, int]] = []
    first = held = 0
    for group, number in enumerate(rows, start=1):
        held += number
        if held >= ROWS_A_SHARD or group == len(rows):
            runs.append((first, group, held))
            first, held = group, 0
    if len(runs) < 2:
        return [whole]
    return [
        ParquetCaptions(file, caption_keys, start, stop, held / max(sum(rows), 1))
        for start, stop, held in runs
    ]


@contextmanager
def _opened(file: File) -> Iterator[pq.ParquetFile]:
    # Buffered: a column of a row group, which may be the whole file, is otherwise read at once.
    if is_url(file.path):
        with file.open() as stream, pq.ParquetFile(stream, buffer_size=_BUFFER) as parquet:
            yield parquet
    else:
        with pq.ParquetFile(file.path, buffer_size=_BUFFER) as parquet:
            yield parquet


def _values(column: pa.Array) -> list[Any]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        kind = column.type
        raw = pa.list_(pa.binary()) if is_list(kind) else pa.binary()
        return column.cast(raw if is_list(kind) or is_string(kind) else kind).to_pylist()
