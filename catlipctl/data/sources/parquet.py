"""Parquet files: `datasets` makes a memory-mapped table of the columns wanted, in the cache folder."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.arrow import DatasetSource
from catlipctl.data.sources.columns import Columns
from catlipctl.data.sources.faults import Faults
from catlipctl.data.sources.storage import File
from catlipctl.data.sources.tar import Need
from catlipctl.errors import DataError
from catlipctl.progress import SILENT, Progress


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
        DataError: no file can be read, `strict` and one cannot, columns are missing, or no row is usable.
    """
    found = Faults()
    whole: list[tuple[File, pa.Schema]] = []
    for file in files:
        try:
            with file.open() as stream:
                whole.append((file, pq.read_schema(stream)))
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0] if file.size else "empty file"
            found.add(kinds.UNREADABLE, 1, f"{file.path}: {reason}")
    if strict or not whole:
        found.refuse_damaged_shards()
    first, schema = whole[0]
    columns = Columns(
        name, schema, image_key=image_key, caption_keys=caption_keys, label_key=label_key, need=need
    )
    for file, other in whole:
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
                data_files=[file.path for file, _ in whole],
                columns=columns.all(),
                split="train",
                cache_dir=str(cache / "datasets"),
            )
        except datasets.exceptions.DatasetGenerationError as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise DataError(
                f"{name} cannot be read: {reason}", "check the files with pyarrow.parquet"
            ) from error
    identity = json.dumps([list(file) for file, _ in whole])
    return DatasetSource(
        name,
        dataset,
        columns,
        root=Path(first.path).parent,
        shards=len(whole),
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
