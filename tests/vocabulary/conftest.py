"""A source of captions alone, and the captions of the real pairs."""

import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from catlipctl.data.sample import Sample


@dataclass
class Captions:
    """A source whose images nobody asks for."""

    texts: list[tuple[str, ...]]
    name: str = "captions"
    shards: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self.texts).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> Sample:
        return Sample(str(index), None, self.texts[index])

    def captions(self) -> Iterator[tuple[str, ...]]:
        return iter(self.texts)

    def labels(self) -> list[str | None]:
        return [None] * len(self.texts)


@pytest.fixture(scope="session")
def source_of() -> type[Captions]:
    """Makes a source of a list of tuples of captions."""
    return Captions


@pytest.fixture(scope="session")
def pairs(shared_data: Path) -> Captions:
    """The captions of the 12,256 real pairs."""
    texts = []
    for path in sorted((shared_data / "pairs").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".txt"):
                    stream = tar.extractfile(member)
                    assert stream is not None
                    texts.append((stream.read().decode("utf-8"),))
    return Captions(texts, name="pairs")
