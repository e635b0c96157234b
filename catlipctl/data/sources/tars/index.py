"""Where each sample of webdataset shards lies: 12 bytes a sample, the rest is in the tar itself.

A sample's members nearly always stand side by side. So the index has where they begin, how long they are, and
which of the few signatures that a source has is theirs; sizes and names are read with the members, from their
headers. Arrays may be views of a file that all processes of a machine share (`index_file`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

IMAGE_EXTENSIONS = (
    *("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "avifs"),
    *("jpe", "jfif", "mpo", "apng", "dib", "jp2", "j2k", "jpc", "jpf", "jpx", "j2c"),
    *("pbm", "pgm", "ppm", "pnm", "pfm", "ico"),
)
"""Those of the formats that `decode` reads, the usual ones first: of a sample that has several, the first
is the image."""
MAX_JSON_BYTES = 16 * 2**20

EMPTY, TEXT, NOT_TEXT, LONG, LONGER, LONGEST = range(6)
"""States of a member: no bytes; up to 1 MiB of an image or UTF-8; up to 1 MiB of another that is no UTF-8;
over 1 MiB, over 16 MiB, over 256 MiB."""

SECTION = 1024
"""Samples of a shard that are counted together, at most."""

ENTRY = np.dtype([("place", "<u8"), ("rest", "<u4")])
"""place: the first block (34 bits), the blocks of the largest member (20 bits) and those before it (10).
rest: the blocks after it (12 bits), and the signature's number in its shard (20 bits).

SCATTERED instead of a signature: the first block is an index into `pieces`, where the signature's number
stands, then for each member its first block (34 bits) and its blocks (30 bits)."""
FIRST, LARGEST, BEFORE, AFTER, NUMBER, PIECE = 2**34, 2**20, 2**10, 2**12, 2**20, 2**30
"""What the parts of an entry, and of a piece, stay below."""
SCATTERED = NUMBER - 1


class Signature(NamedTuple):
    """What the members of a sample are, in their order.

    members: extension in lower case, and state. largest: the number of the largest.
    leads: blocks of each from its first header to its data, if all stand side by side and their last headers
    tell their names and sizes; else empty, and they are found by their names.
    """

    members: tuple[tuple[str, int], ...]
    largest: int
    leads: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TarIndex:
    """The samples of S shards, in the order of their first members.

    entries: ENTRY `[N]`. pieces: uint64 `[P]`. shards: int64 `[S, 3]`, how many samples, pieces and
    signatures each has. local: int64 `[L]`, the numbers in `signatures` of those of each shard, shard after
    shard.
    census: int64 `[C, 4]`: section, signature, how many samples, the first of them; sections are each shard's
    samples by 1,024. damage: kind of fault and the byte at which the pass ended, by shard.
    path: the file whose pages these are views of, if any.
    """

    entries: NDArray[np.void]
    pieces: NDArray[np.uint64]
    shards: NDArray[np.int64]
    local: NDArray[np.int64]
    census: NDArray[np.int64]
    signatures: tuple[Signature, ...]
    damage: dict[int, tuple[str, int]]
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.entries)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is not None:
            # Another process maps the file itself.
            from catlipctl.data.sources.tars.index_file import load_again

            return load_again, (self.path,)
        return TarIndex, (*(getattr(self, name) for name in ARRAYS), self.signatures, self.damage)


ARRAYS = ("entries", "pieces", "shards", "local", "census")


def sections_of(samples: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each section of shards with so many samples: the shard, and where it ends among all samples."""
    counts = -(-samples // SECTION)
    shard = np.repeat(np.arange(len(samples)), counts)
    number = np.arange(len(shard)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = np.cumsum(samples) - samples
    return shard, first[shard] + np.minimum((number + 1) * SECTION, samples[shard])


def joined(indexes: Sequence[TarIndex]) -> TarIndex:
    """The index of all shards, but for `entries`, which are those of all, one after the other."""
    known: dict[Signature, int] = {}
    local, census = [], []
    sections = samples = 0
    for index in indexes:
        numbers = np.array([known.setdefault(one, len(known)) for one in index.signatures], np.int64)
        local.append(numbers[index.local])
        rows = index.census.copy()
        rows[:, 0] += sections
        rows[:, 1] = numbers[rows[:, 1]]
        rows[:, 3] += samples
        census.append(rows)
        sections += int((-(-index.shards[:, 0] // SECTION)).sum())
        samples += int(index.shards[:, 0].sum())
    return TarIndex(
        entries=np.zeros(0, ENTRY),
        pieces=np.concatenate([index.pieces for index in indexes]),
        shards=np.concatenate([index.shards for index in indexes]),
        local=np.concatenate(local),
        census=np.concatenate(census),
        signatures=tuple(known),
        damage={shard: found for shard, index in enumerate(indexes) for found in index.damage.values()},
    )
