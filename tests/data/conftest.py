"""Small sources written with the libraries that others write them with."""

import io
import tarfile
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from catlipctl.progress import Silent


class Recorded(Silent):
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.notes: list[str] = []
        self.tasks: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def note(self, message: str) -> None:
        self.notes.append(message)

    @contextmanager
    def task(self, description: str, total: int | None = None, unit: str = "it", done: int = 0):
        self.tasks.append(description)
        with super().task(description, total, unit, done) as task:
            yield task


@pytest.fixture
def progress() -> Recorded:
    return Recorded()


@pytest.fixture(scope="session")
def png() -> Callable[[int], bytes]:
    """A 4 x 3 image whose colour tells its number."""

    def make(number: int) -> bytes:
        packed = io.BytesIO()
        Image.new("RGB", (4, 3), (number % 256, 7, 9)).save(packed, "PNG")
        return packed.getvalue()

    return make


@pytest.fixture(scope="session")
def write_tar() -> Callable[..., Path]:
    """Write members to a tar with Python's own tarfile."""

    def write(path: Path, members: Iterable[tuple[str, bytes]], format: int = tarfile.PAX_FORMAT) -> Path:
        with tarfile.open(path, "w", format=format) as tar:
            for name, body in members:
                info = tarfile.TarInfo(name)
                info.size = len(body)
                tar.addfile(info, io.BytesIO(body))
        return path

    return write
