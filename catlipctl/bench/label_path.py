"""One path from captions to labels, in the process that times it: a fresh one, which has but this path."""

import os
import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

REFERENCE = "reference"


class Path(Protocol):
    """An extractor, or the reference, which remembers nothing and has no `misses` to count."""

    @property
    def version(self) -> str: ...

    @property
    def misses(self) -> int | None: ...

    def __call__(self, caption: str) -> list[str]: ...


class SetUp(NamedTuple):
    """version: of the extractor, or of NLTK. seconds: by the clock."""

    version: str
    seconds: float


class Read(NamedTuple):
    """What it took to read some captions: seconds of a core, and by the clock; chunks not remembered."""

    core_seconds: float
    seconds: float
    misses: int | None
    labels: list[list[str]]


_path: Path


def set_up(name: str) -> SetUp:
    """Load the extractor of that name, or the reference, with all that it reads from disk."""
    global _path
    os.environ["OMP_NUM_THREADS"] = "1"
    start = time.perf_counter()
    if name == REFERENCE:
        from catlipctl.bench.reference import Reference

        _path = Reference()
    else:
        from catlipctl import labels

        _path = labels.extractor(name)
    # What is loaded when it is first used belongs to the set-up.
    _path("a dog")
    return SetUp(_path.version, time.perf_counter() - start)


def read(captions: Sequence[str]) -> Read:
    """The captions' labels, and what they took."""
    known = _path.misses or 0
    start, core_start = time.perf_counter(), time.process_time()
    labels = [_path(caption) for caption in captions]
    core_seconds, seconds = time.process_time() - core_start, time.perf_counter() - start
    misses = _path.misses
    return Read(core_seconds, seconds, None if misses is None else misses - known, labels)


def reread(captions: Sequence[str]) -> Read:
    """As `read`, but the labels are not sent back: they are known."""
    return read(captions)._replace(labels=[])
