"""The rows that a run appends to its files as it goes: read as far as they are whole, and nothing else."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from catlipctl.errors import DataError
from catlipctl.files import FileKind

M = TypeVar("M", bound=BaseModel)

METRICS = "metrics.jsonl"
EVALUATIONS = "evaluations.jsonl"
STARTS = "starts.jsonl"
LOG = FileKind("a log of a run", 2**30, DataError, "")
TAIL = 2**16
"""Bytes in which the last row of a log lies."""


class JsonObject(RootModel[dict[str, Any]]):
    """Any JSON object."""


class Logged(BaseModel):
    """What a report reads of a row of metrics.jsonl; other rows are other events."""

    model_config = ConfigDict(allow_inf_nan=False)

    step: int
    samples: int
    loss: float
    lr: float | None = None
    images_per_second: float | None = None
    mfu: float | None = None
    epoch: float = 0
    seconds: float = 0
    replaced: int = 0
    skipped: int = 0
    unlabelled: float | None = None


class Evaluated(BaseModel):
    """What a report reads of a row of evaluations.jsonl: a run measured on its way."""

    model_config = ConfigDict(allow_inf_nan=False)

    step: int
    samples: int | None = None
    loss: float | None = None
    mean_average_precision: float | None = None
    mean_average_precision_rarest: float | None = None
    accuracy: float | None = None
    acc1: float | None = None
    macro_map: float | None = None
    images: int | None = None
    classes: int | None = None
    weights: str | None = None

    def told(self) -> str:
        """What the weights after the step are worth, in one line."""
        mean, classes = self.mean_average_precision, self.classes or 0
        rarest = self.mean_average_precision_rarest
        said = [
            None if self.loss is None else f"loss {self.loss:.4g}",
            None if mean is None else f"mAP {mean:.1%} over {classes:,} classes",
            None if rarest is None else f"{rarest:.1%} over their rarest third",
            None if self.accuracy is None else f"accuracy {self.accuracy:.1%}",
            f"{self.images or 0:,} images, {self.weights or 'raw'} weights, step {self.step:,}",
        ]
        return ", ".join(filter(None, said))


def logged(path: Path) -> list[Logged]:
    """The rows of a metrics.jsonl that tell of a step, or none."""
    return _of_kind(rows(path), Logged)


def last_logged(path: Path) -> Logged | None:
    """The last row of a metrics.jsonl, without reading all of it."""
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - TAIL))
        lines = stream.read().splitlines()
    found = _of_kind(_objects(lines, path), Logged)
    return found[-1] if found else None


def evaluated(path: Path) -> list[Evaluated]:
    """The rows of an evaluations.jsonl, or none."""
    return _of_kind(rows(path), Evaluated)


def rows(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file with one a line, or none; a line that is none is passed over."""
    return _objects(LOG.read_bytes(path).splitlines() if path.is_file() else (), path)


def _objects(lines: Iterable[bytes], path: Path) -> list[dict[str, Any]]:
    found = []
    for line in lines:
        with suppress(DataError):
            found.append(LOG.parsed(line, path, JsonObject).root)
    return found


def _of_kind(found: Iterable[Mapping[str, Any]], kind: type[M]) -> list[M]:
    fitting = []
    for row in found:
        with suppress(ValidationError):
            fitting.append(kind.model_validate(row))
    return fitting
