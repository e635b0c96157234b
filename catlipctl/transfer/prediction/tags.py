"""Predictions of many images in a file, written as they are made: a kill loses at most the last batch.

`tags.jsonl` has a row an image. `tags.parquet` is made of such rows at the end, since an unfinished Parquet
file cannot be read: until then they lie beside it. `*.about.json` says what the rows were made of, so that
those of another checkpoint, other images or another threshold are never mixed.
"""

import fcntl
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from pydantic import BaseModel, ConfigDict

from catlipctl import files
from catlipctl.checkpoints import Checkpoint
from catlipctl.checkpoints.writing import plain_bytes
from catlipctl.errors import DataError, UsageError
from catlipctl.files import FileKind
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Result
from catlipctl.transfer.prediction.choice import Choice
from catlipctl.transfer.prediction.inputs import Inputs
from catlipctl.transfer.prediction.predict import BATCH, ImagePrediction, answers, nothing_readable

ENDINGS = (".jsonl", ".parquet")
ROWS_AT_ONCE = 10_000
FAULTS_TOLD = 10
LABELS_TOLD = 20
_ABOUT = FileKind("what a file of tags is about", 2**20, DataError, "choose another --out")
_ROWS = FileKind("a row of tags", 2**30, DataError, "remove the file and begin again")


class Tags(Result):
    """A file of predictions.

    rows: images, `unreadable` of them with a fault in the labels' place. faults: the first ones.
    labels: the most frequent, with the images that each is told of.
    """

    out: str
    probabilities: str
    rows: int
    unreadable: int
    faults: list[str]
    labels: dict[str, int]
    skipped: dict[str, int]


class _Origin(BaseModel):
    """What makes the rows; two files of one origin are equal."""

    model_config = ConfigDict(extra="forbid")

    checkpoint: str
    images: str
    top: int | None
    threshold: float | None


class _About(BaseModel):
    """complete: all rows are written."""

    format: Literal["catlipctl-tags"] = "catlipctl-tags"
    version: Literal[1] = 1
    named: str
    origin: _Origin
    complete: bool = False


_DIFFERENT = {
    "checkpoint": "another checkpoint",
    "images": "other images, or of some that have changed",
    "top": "another --top",
    "threshold": "another --threshold",
}


class _Tally:
    """What is said of rows in the end."""

    def __init__(self) -> None:
        self.rows = self.unreadable = 0
        self.faults: list[str] = []
        self.labels: Counter[str] = Counter()

    def add(self, row: ImagePrediction) -> None:
        self.rows += 1
        if row.fault is not None:
            self.unreadable += 1
            if len(self.faults) < FAULTS_TOLD:
                self.faults.append(row.fault)
        self.labels.update(f"{label.label} {label.description}".strip() for label in row.labels)


def check_out(out: Path) -> None:
    """UsageError where `out` is named as none of the formats."""
    if out.suffix not in ENDINGS:
        raise UsageError(f"{out} is no format of tags", "name it *.jsonl or *.parquet")


def write_tags(
    checkpoint: Checkpoint,
    inputs: Inputs,
    choice: Choice,
    out: Path,
    *,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Tags:
    """Write a row for each image to `out`, in their order; go on where an earlier call stopped.

    Raises UsageError for an `out` of another origin, or that another process is writing, DataError where no
    image can be read; their rows say why.
    """
    check_out(out)
    rows = out if out.suffix == ".jsonl" else out.with_name(f"{out.name}.rows.jsonl")
    path = out.with_name(f"{out.name}.about.json")
    origin = _Origin(
        checkpoint=_identity(checkpoint),
        images=inputs.fingerprint(),
        top=choice.top,
        threshold=choice.threshold,
    )
    about = _begun(out, rows, path, _About(named=checkpoint.name, origin=origin))
    tally = _Tally()
    if about.complete and out.exists():
        for row in _parquet_rows(out) if out.suffix == ".parquet" else _rows(rows, None):
            tally.add(row)
        progress.note(f"{out} is complete: nothing to do")
    else:
        with _alone(rows) as stream:
            kept = _cut(stream, len(inputs))
            for row in _rows(rows, kept):
                tally.add(row)
            if kept:
                progress.note(f"{out}: goes on after {kept:,} of {len(inputs):,} images")
            with progress.task("predicting", len(inputs), "images", kept) as task:
                for answered in answers(checkpoint, inputs, choice, first=kept, workers=workers):
                    stream.write(b"".join(_line(row) for row in answered))
                    stream.flush()
                    for row in answered:
                        tally.add(row)
                    task.advance(len(answered))
            if out != rows:
                _write_parquet(rows, out)
        files.write_json(path, about.model_copy(update={"complete": True}).model_dump())
        if out != rows:
            rows.unlink()
    if tally.unreadable == tally.rows:
        raise nothing_readable(tally.faults, tally.unreadable)
    return Tags(
        out=str(out),
        probabilities=checkpoint.activation,
        rows=tally.rows,
        unreadable=tally.unreadable,
        faults=tally.faults,
        labels=dict(tally.labels.most_common(LABELS_TOLD)),
        skipped=dict(inputs.skipped.most_common()),
    )


def _begun(out: Path, rows: Path, path: Path, wanted: _About) -> _About:
    """What `out` is about, written before its first row; UsageError where it is of another origin."""
    if not path.exists():
        files.refuse_taken(out, rows)
        files.write_json(path, wanted.model_dump())
        return wanted
    found = _ABOUT.read_json(path, _About)
    theirs, ours = found.origin.model_dump(), wanted.origin.model_dump()
    differ = [said for name, said in _DIFFERENT.items() if theirs[name] != ours[name]]
    if differ:
        raise UsageError(
            f"{out} is of {' and of '.join(differ)}: it was made with {found.named}",
            f"choose another --out, or remove it and {path}",
        )
    return found


def _identity(checkpoint: Checkpoint) -> str:
    """A hash of weights, labels and preprocessing, wherever the checkpoint lies."""
    found = hashlib.sha256()
    for name, value in checkpoint.tower.module.state_dict().items():
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(plain_bytes(value))
    told = (checkpoint.label_names, checkpoint.activation, checkpoint.tower.preprocessing)
    found.update(repr(told).encode(errors="surrogateescape"))
    return found.hexdigest()[:32]


@contextmanager
def _alone(rows: Path) -> Iterator[BinaryIO]:
    """The file of rows, which no other process writes meanwhile."""
    with rows.open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another process is writing {rows}", "wait for it, or choose another --out"
            ) from None
        except OSError:  # not every file system knows it
            pass
        yield stream


def _cut(stream: BinaryIO, images: int) -> int:
    """Cut the file after its last whole batch; the rows that stay.

    A half line goes, and with it its batch: batches as they were give the same numbers to the last digit.
    """
    ends, count, end = [0], 0, 0
    with open(stream.name, "rb") as written:
        for line in written:
            if line.endswith(b"\n"):
                count, end = count + 1, end + len(line)
                if count % BATCH == 0 or count == images:
                    ends.append(end)
    stream.truncate(ends[-1])
    return count if count == images else count - count % BATCH


def _line(row: ImagePrediction) -> bytes:
    return row.model_dump_json(exclude={"name"}).encode() + b"\n"


def _rows(path: Path, count: int | None) -> Iterator[ImagePrediction]:
    """The first `count` rows of a file (all)."""
    with path.open("rb") as stream:
        for number, line in enumerate(itertools.islice(stream, count), 1):
            yield _ROWS.parsed(line, f"{path}, line {number},", ImagePrediction)


def _write_parquet(rows: Path, out: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    label = pa.struct([("label", pa.string()), ("description", pa.string()), ("probability", pa.float32())])
    columns = [
        ("image", pa.string()),
        ("source", pa.string()),
        ("labels", pa.list_(label)),
        ("fault", pa.string()),
    ]
    schema = pa.schema(columns)
    with files.replacing(out) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        found = _rows(rows, None)
        while part := list(itertools.islice(found, ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist([row.model_dump() for row in part], schema))


def _parquet_rows(path: Path) -> Iterator[ImagePrediction]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE):
            yield from (ImagePrediction.model_validate(row) for row in batch.to_pylist())
