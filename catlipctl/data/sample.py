"""What a source is: how many samples, and sample `i` as raw bytes and captions. It knows no order."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Need = Literal["captions", "labels", "images", "any"]
"""What a sample must have; any: captions where the source has some, else labels."""


Labels = tuple[str, ...] | None
"""The classes of a sample, each once: one where they exclude each other. (): it is known to have none. None:
nothing is known."""


class Sample(NamedTuple):
    """One row of a source, undecoded. `image` is None where the data has none: no file, a tar cut short."""

    key: str
    image: bytes | None
    captions: tuple[str, ...] = ()
    labels: Labels = None


class Source(Protocol):
    """Random access to samples.

    name: the SOURCE text that opened it. fingerprint: a hash that changes with its files (path, size, mtime).
    shards: how many files hold the samples; 0 where each image is a file of its own.
    shard_sizes: samples of each shard in storage order, none of them 0; one entry where there are no shards.
    faults: what was passed over when it was opened, by kind: {'truncated shard': 1, ...}.
    """

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def shards(self) -> int: ...
    @property
    def shard_sizes(self) -> Sequence[int] | NDArray[np.int64]: ...
    @property
    def faults(self) -> Mapping[str, int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """Sample `index` with its image's bytes. Picklable into loader workers, fork- and thread-safe.

        Raises:
            ReadFailed (a MachineError): the bytes are there, but each try to read them failed.
        """
        ...

    def captions(self) -> Iterator[tuple[str, ...]]:
        """The captions of all samples in storage order, without reading an image."""
        ...

    def labels(self) -> list[Labels]:
        """The classes of every sample in storage order, without reading an image."""
        ...


def class_names(source: Source) -> tuple[str, ...]:
    """All classes of a source in the order that its data gives them; empty where it gives none."""
    return getattr(source, "class_names", ())


def compact(labels: Iterable[Labels]) -> list[Labels]:
    """A list in which equal labels are one object: a million samples of a thousand classes take 8 MB."""
    kept: dict[tuple[str, ...], tuple[str, ...]] = {}

    def one(names: tuple[str, ...]) -> tuple[str, ...]:
        if names not in kept:
            kept[names] = tuple(map(sys.intern, names))
        return kept[names]

    return [None if names is None else one(names) for names in labels]


class Selection:
    """Some samples of a source, by their indices, as a source."""

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        self._source, self._indices = source, indices
        self.name, self.fingerprint, self.faults = source.name, source.fingerprint, source.faults
        self.shards = source.shards
        self.shard_sizes = (len(indices),)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        return self._source[self._indices[index]]

    def captions(self) -> Iterator[tuple[str, ...]]:
        """The captions of the selected samples, in their order."""
        return (self[index].captions for index in range(len(self)))

    def labels(self) -> list[Labels]:
        """The classes of every selected sample, in their order."""
        labels = self._source.labels()
        return [labels[index] for index in self._indices]
