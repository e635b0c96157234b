"""What a source is: how many samples, and sample `i` as raw bytes and captions. It knows no order."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol


class Sample(NamedTuple):
    """One row of a source, undecoded. `image` is None where its bytes cannot be read."""

    key: str
    image: bytes | None
    captions: tuple[str, ...] = ()
    label: str | None = None


class Source(Protocol):
    """Random access to samples.

    name: the SOURCE text that opened it. fingerprint: a hash that changes with its files (path, size, mtime).
    shards: how many files hold the samples; 0 where each image is a file of its own.
    faults: what was passed over when it was opened, by kind: {'truncated shard': 1, ...}.
    """

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def shards(self) -> int: ...
    @property
    def faults(self) -> Mapping[str, int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """Sample `index` with its image's bytes. Picklable into loader workers, fork- and thread-safe."""
        ...

    def captions(self) -> Iterator[tuple[str, ...]]:
        """The captions of all samples in storage order, without reading an image."""
        ...

    def labels(self) -> list[str | None]:
        """The class label of every sample in storage order, without reading an image."""
        ...
