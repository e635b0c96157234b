"""CPU seconds: what a run cost of a machine on which others are at work, where the clock tells little."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from pydantic import BaseModel

from catlipctl.errors import DataError
from catlipctl.files import FileKind, write_json

FILE = "usage.json"
KIND = FileKind("a run's CPU time", 2**16, DataError, "delete it")


class Usage(BaseModel):
    """cpu_seconds: of all starts of a run; None from the first that could not tell."""

    cpu_seconds: float | None


def cpu_seconds() -> float:
    """Of this process so far, of its children that have ended, and of those at work: on all cores."""
    own = os.times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            times = child.cpu_times()
            total += times.user + times.system
    return total


def cpu_seconds_of(run: Path) -> float | None:
    """What all starts of a run took; None where one was killed, or where nothing is known."""
    path = run / FILE
    return KIND.read_json(path, Usage).cpu_seconds if path.exists() else None


@contextmanager
def recorded(run: Path) -> Iterator[None]:
    """The body is a start of a run: its CPU seconds are added to those of the starts before it.

    Of one of several processes nothing is recorded.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        yield
        return
    first, before, begun = not run.exists(), cpu_seconds_of(run), cpu_seconds()
    if not first and before is not None:
        # Should a kill come, the starts before are not all there was.
        write_json(run / FILE, Usage(cpu_seconds=None).model_dump())
    try:
        yield
    finally:
        taken = cpu_seconds() - begun
        known = taken if first else None if before is None else before + taken
        if run.is_dir():
            write_json(run / FILE, Usage(cpu_seconds=known).model_dump())
