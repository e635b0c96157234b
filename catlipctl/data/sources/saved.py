"""A folder that `datasets` wrote with `save_to_disk`: a Dataset, or a DatasetDict of splits, in Arrow."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa

from catlipctl.data.sample import Need
from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.arrow import DatasetSource, TableCaptions
from catlipctl.data.sources.columns import Columns, is_string
from catlipctl.data.sources.faults import Faults
from catlipctl.data.sources.image_files import root_of
from catlipctl.data.sources.shard import Broken
from catlipctl.data.sources.storage import File
from catlipctl.errors import DataError
from catlipctl.progress import SILENT, Progress

if TYPE_CHECKING:
    import datasets

SPLITS, STATE = "dataset_dict.json", "state.json"
MARKS = (SPLITS, STATE)
"""The file by which a DatasetDict is known, and that of a Dataset."""
DEFAULT_SPLIT = "train"
_PROBED = 100
_MAX_BYTES = 64 * 2**20


def split_of(spec: str, folder: Path, progress: Progress) -> Path:
    """The folder of a Dataset itself, or of the split `train` of a DatasetDict, as of a dataset of the Hub.

    Raises:
        DataError: it is a DatasetDict without such a split, or its list of splits cannot be read.
    """
    if not (folder / SPLITS).is_file():
        return folder
    splits = _read(folder / SPLITS, "splits")
    choices = " or ".join(str(Path(spec) / split) for split in splits)
    if DEFAULT_SPLIT not in splits:
        raise DataError(f"{spec} holds the splits {', '.join(splits)}", f"choose one of them: {choices}")
    if len(splits) > 1:
        progress.note(
            f"{spec} holds the splits {', '.join(splits)}: reading {DEFAULT_SPLIT}; choose with {choices}"
        )
    return folder / DEFAULT_SPLIT


def files_of(folder: Path) -> list[Path]:
    """The Arrow files of a Dataset, in its order.

    Raises:
        DataError: the list of them cannot be read.
    """
    return [folder / name for name in _read(folder / STATE, "_data_files")]


def _read(path: Path, field: str) -> list[str]:
    """A list of names, plain or as `{"filename": NAME}`, in one of the JSON files that `datasets` writes."""
    try:
        with path.open("rb") as stream:
            listed = json.loads(stream.read(_MAX_BYTES))[field]
        names = [item["filename"] if isinstance(item, dict) else item for item in listed]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path} does not list the {field.strip('_').replace('_', ' ')} of a saved dataset",
            "save it again with save_to_disk",
        ) from error
    # A name, no path: what lies elsewhere is no part of the folder.
    return [name for name in names if isinstance(name, str) and Path(name).name == name]


def open_saved(
    name: str,
    folder: Path,
    files: Sequence[File],
    *,
    image_key: str | None = None,
    caption_keys: Sequence[str] = (),
    label_key: str | None = None,
    need: Need = "captions",
    strict: bool = False,
    progress: Progress = SILENT,
) -> DatasetSource:
    """The rows of a saved Dataset, memory-mapped, images undecoded. A file that is cut is a counted fault.

    Raises:
        DataError: no file is whole, `strict` and one is not, columns are missing, or no row is usable.
    """
    import datasets

    found = Faults()
    whole: list[datasets.Dataset] = []
    for file in files:
        try:
            whole.append(datasets.Dataset.from_file(file.path))
        except (pa.ArrowException, OSError, ValueError) as error:
            found.add(kinds.UNREADABLE, 1, f"{file.path}: {str(error).splitlines()[0]}")
    if strict or not whole:
        found.refuse_damaged_shards()
    if not whole:
        raise DataError(f"{name} is an empty dataset", "save it again with save_to_disk")
    dataset = datasets.concatenate_datasets(whole)
    columns = Columns.of_schema(
        name,
        dataset.features.arrow_schema,
        image_key=image_key,
        caption_keys=caption_keys,
        label_key=label_key,
        need=need,
    )
    return DatasetSource(
        name,
        dataset,
        columns,
        root=_root(name, dataset, columns, folder),
        rows_a_shard=[len(part) for part in whole],
        found=found,
        fingerprint=hashlib.sha256(json.dumps([list(file) for file in files]).encode()).hexdigest(),
        progress=progress,
    )


def _root(name: str, dataset: "datasets.Dataset", columns: Columns, folder: Path) -> Path:
    """Where paths in the image column start, if it has paths."""
    column = dataset.with_format("arrow").data.column(str(columns.image))
    if not is_string(column.type):
        return folder
    paths = [path.as_py() for path in islice((value for value in column if value.is_valid), _PROBED)]
    return root_of(name, paths, folder) if paths else folder


@dataclass(frozen=True)
class SavedCaptions(TableCaptions):
    """Rows with captions of an Arrow file; the images among them are mapped, but never touched."""

    kind: ClassVar[str] = "saved"

    def check(self) -> None:
        """Look for the columns.

        Raises:
            DataError: there is none, or not the one asked for. Broken: it cannot be read.
        """
        for _ in self._batches():
            return

    def _samples(self, found: Faults) -> Iterator[tuple[str, ...]]:
        row = 0
        for batch, columns in self._batches():
            yield from self._texts(batch, columns, row, found)
            row += len(batch)

    def _batches(self) -> Iterator[tuple[pa.RecordBatch, list[str]]]:
        try:
            with pa.memory_map(self.file.path) as stream, pa.ipc.open_stream(stream) as reader:
                columns = self._columns(reader.schema)
                for batch in reader:
                    yield batch.select(columns), columns
        except (pa.ArrowException, OSError) as error:
            raise Broken(str(error).splitlines()[0] if self.file.size else "empty file") from error
