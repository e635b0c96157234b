"""Parquet: rows from a memory map that `datasets` makes of the columns wanted; captions as a stream."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catlipctl.data.sample import Need
from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.arrow import DatasetSource, TableCaptions
from catlipctl.data.sources.columns import Columns
from catlipctl.data.sources.faults import Faults
from catlipctl.data.sources.shard import Broken
from catlipctl.data.sources.storage import File, ReadFailed
from catlipctl.errors import DataError
from catlipctl.progress import SILENT, Progress

LARGE_FILE = 256 * 2**20
"""From here on the main process looks into a file for its row groups, which costs a read, not a stat."""
ROWS_A_SHARD = 1_000_000
MISSING = "missing"
"""When a `File` that is not there was modified."""
_ROWS_AT_ONCE = 1024
_BUFFER = 2**20
_IMG2DATASET = {"key", "url", "status"}
_STATUS = "status"


def open_parquet(
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
) -> DatasetSource:
    """The rows of Parquet files whose schemas agree.

    A Parquet file has its index at its end, so a cut one is unreadable: it is left out and counted.

    Raises:
        DataError: no file is whole, `strict` and one is not, columns are missing, or no row is usable.
        ReadFailed: a file cannot be read.
    """
    found = Faults()
    whole: list[tuple[File, pa.Schema, int]] = []
    for file in files:
        try:
            with _opened(file) as parquet:
                whole.append((file, parquet.schema_arrow, parquet.metadata.num_rows))
        except Broken as error:
            found.add(kinds.UNREADABLE, 1, f"{file.path}: {error.message}")
    if strict or not whole:
        found.refuse_damaged_shards()
    first, schema, _ = whole[0]
    columns = Columns.of_schema(
        name, schema, image_key=image_key, caption_keys=caption_keys, label_key=label_key, need=need
    )
    for file, other, _ in whole:
        missing = [column for column in columns.all() if column not in other.names]
        if missing:
            raise DataError(
                f"{file.path} has no column {missing[0]!r}, which {first.path} has",
                "give files with different columns as several sources",
            )

    import datasets

    progress.note(f"mapping {len(whole)} Parquet file{'s' * (len(whole) > 1)} into {cache / 'datasets'}")
    with quiet_datasets():
        try:
            dataset = datasets.load_dataset(
                "parquet",
                data_files=[file.path for file, *_ in whole],
                columns=columns.all(),
                split="train",
                cache_dir=str(cache / "datasets"),
            )
        except datasets.exceptions.DatasetGenerationError as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise DataError(
                f"{name} cannot be read: {reason}", "check the files with pyarrow.parquet"
            ) from error
    identity = json.dumps([list(file) for file, *_ in whole])
    return DatasetSource(
        name,
        dataset,
        columns,
        root=Path(first.path).parent,
        rows_a_shard=[rows for *_, rows in whole],
        found=found,
        fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
        progress=progress,
    )


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """`datasets` draws no bars of its own inside."""
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bar()


@dataclass(frozen=True)
class ParquetCaptions(TableCaptions):
    """Rows with captions; no other column is read. img2dataset's Parquet has a row for every URL that it
    tried: those without an image are left out and counted.

    first, stop: the run of row groups; stop is None for the whole file. share: how much of the file it is.
    """

    first: int = 0
    stop: int | None = None
    share: float = 1.0
    kind: ClassVar[str] = "parquet"

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
        return json.dumps([self.kind, *self.file, self.caption_keys, self.first, self.stop])

    def check(self) -> None:
        """Look for the columns.

        Raises:
            DataError: there is none, or not the one asked for. Broken, ReadFailed: it cannot be read.
        """
        with _opened(self.file) as parquet:
            self._columns(parquet.schema_arrow)

    def _samples(self, found: Faults) -> Iterator[tuple[str, ...]]:
        with _opened(self.file) as parquet:
            schema = parquet.schema_arrow
            columns = self._columns(schema)
            status = [_STATUS] if set(schema.names) >= _IMG2DATASET else []
            groups = range(self.first, parquet.num_row_groups if self.stop is None else self.stop)
            row = sum(parquet.metadata.row_group(group).num_rows for group in range(self.first))
            for batch in parquet.iter_batches(_ROWS_AT_ONCE, list(groups), [*columns, *status]):
                fetched = self._fetched(batch, row, found) if status and _STATUS not in columns else None
                yield from self._texts(batch, columns, row, found, fetched)
                row += len(batch)

    def _fetched(self, batch: pa.RecordBatch, first: int, found: Faults) -> list[bool]:
        """Which rows img2dataset has an image of; the others are counted."""
        fetched: list[bool] = pc.fill_null(pc.equal(batch[_STATUS], "success"), False).to_pylist()
        if missed := fetched.count(False):
            found.add(kinds.NO_IMAGE, missed, f"{self.file.name}, row {first + fetched.index(False)}")
        return fetched


def parquet_shards(file: File, caption_keys: tuple[str, ...]) -> list[ParquetCaptions]:
    """The file as one shard; a large one as runs of row groups with about a million rows each."""
    whole = ParquetCaptions(file, None, caption_keys)
    if file.size < LARGE_FILE:
        return [whole]
    try:
        with _opened(file) as parquet:
            rows = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
    except (Broken, ReadFailed):
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
        ParquetCaptions(file, None, caption_keys, start, stop, held / max(sum(rows), 1))
        for start, stop, held in runs
    ]


@contextmanager
def _opened(file: File) -> Iterator[pq.ParquetFile]:
    """A file to be read inside.

    Raises:
        Broken: it is no Parquet, or damaged. ReadFailed: it cannot be read.
    """
    try:
        # Buffered: a column of a row group, which may be the whole file, is otherwise read at once.
        with file.open() as stream, pq.ParquetFile(stream, buffer_size=_BUFFER) as parquet:
            yield parquet
    except (pa.ArrowException, OSError) as error:  # an OSError is Arrow's own: our reads raise ReadFailed
        reason = "missing file" if file.modified == MISSING else "empty file"
        raise Broken(str(error).splitlines()[0] if file.size else reason) from error
