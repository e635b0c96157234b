"""Shards of a stream, behind whatever serves them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from catlipctl.data.sources.streams import cache

SAMPLES = (5, 9, 7, 12, 6, 8, 11)


@pytest.fixture
def folder(tmp_path: Path, png, write_tar) -> Path:
    """Seven tars of 5 to 12 samples, 58 in all; `caption SHARD NUMBER`."""
    (tmp_path / "shards").mkdir()
    for shard, samples in enumerate(SAMPLES):
        entries = [
            (f"{shard}-{n}.{kind}", body)
            for n in range(samples)
            for kind, body in (("png", png(20 * shard + n)), ("txt", f"caption {shard} {n}".encode()))
        ]
        write_tar(tmp_path / "shards" / f"{shard:05d}.tar", entries)
    return tmp_path / "shards"


@pytest.fixture
def in_memory() -> Iterator[Callable[[Path], str]]:
    """Copy a folder into fsspec's memory; its URL."""
    memory = fsspec.filesystem("memory")

    def copy(folder: Path) -> str:
        for path in folder.iterdir():
            memory.pipe(f"/{folder.name}/{path.name}", path.read_bytes())
        return f"memory://{folder.name}"

    yield copy
    memory.rm("/", recursive=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces smaller than these shards, and pauses that tests can wait for."""
    monkeypatch.setattr(cache, "PIECE", 5000)
    monkeypatch.setattr(cache, "PAUSES", (0.01, 0.01, 0.01, 0.01))
    monkeypatch.setattr(cache, "PATIENCE", 0.1)
