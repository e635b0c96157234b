"""Which samples of tars are used, and where each of them is."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catlipctl.data.sources.storage import File
from catlipctl.data.sources.tars.columns import Keys
from catlipctl.data.sources.tars.index import BEFORE, LARGEST, NUMBER, PIECE, SCATTERED, TarIndex, sections_of
from catlipctl.data.sources.tars.members import BLOCK
from catlipctl.data.sources.tars.run import Place, first_name
from catlipctl.data.sources.tars.section import Section


class Samples:
    """The samples of shards, in storage order; those of some signatures alone, once `keep` was called.

    files: the shards, some perhaps without a sample. keys: what was looked for. cells: what the samples of
    each signature have. counts: how many of the samples used have each signature.
    """

    def __init__(self, files: Sequence[File], index: TarIndex, keys: Keys) -> None:
        self.files, self.keys, self.index = files, keys, index
        self.cells = [keys.cells(signature) for signature in index.signatures]
        # Plain views of what may be mapped: they are indexed several times as fast.
        self._entries, self._pieces = index.entries.view(np.ndarray), index.pieces.view(np.ndarray)
        ends = np.cumsum(index.shards, axis=0)
        self._ends: list[int] = ends[:, 0].tolist()
        self._first_piece: list[int] = (ends[:, 1] - index.shards[:, 1]).tolist()
        self._first_local: list[int] = (ends[:, 2] - index.shards[:, 2]).tolist()
        self._local: list[int] = index.local.tolist()
        self.keep([True] * len(self.cells))

    def __reduce__(self) -> tuple[Any, ...]:
        return _kept, (self.files, self.index, self.keys, self._used.signatures.tolist())

    def keep(self, signatures: Sequence[bool]) -> None:
        """Use the samples of some signatures alone."""
        self._used = _Subset(self.index, np.array(signatures, np.bool_))
        self.counts = self._used.counts

    def __len__(self) -> int:
        return self._used.length

    @property
    def shard_sizes(self) -> list[int]:
        """How many samples of each shard are used."""
        return self._used.shard_sizes(self.index)

    def place(self, number: int) -> Place:
        """Where sample `number` of those used is."""
        return self._place(self._row(self._used, number))

    def count(self, signatures: Sequence[bool]) -> int:
        """How many of the samples used have one of some signatures."""
        return int(self.counts[np.array(signatures, np.bool_)].sum())

    def where(self, signatures: Sequence[bool]) -> str:
        """The name of the first sample of all that has one of some signatures, for messages."""
        _, signature, _, first = self.index.census.T
        row = int(first[np.array(signatures, np.bool_)[signature]].min())
        return self.name(self._place(row))

    def name(self, place: Place) -> str:
        """The name of a sample, for messages: its key is read from its first header."""
        start = place.pieces[0][0] if place.pieces else place.bounds[0]
        with place.file.open() as stream:
            split = first_name(stream, place.file.size, start)
        key = split[0].decode(errors="replace") if split else f"the sample at byte {start:,}"
        return f"{key} in {place.file.name}"

    def spread(self, signatures: Sequence[bool], most: int) -> list[Place]:
        """At most so many of all samples that have one of some signatures, evenly spread."""
        subset = _Subset(self.index, np.array(signatures, np.bool_))
        numbers = np.linspace(0, subset.length - 1, min(subset.length, most)).astype(int).tolist()
        return [self._place(self._row(subset, number)) for number in numbers]

    def sections(self) -> Iterator[Section]:
        """The samples used in storage order, at most 1,024 of a shard at a time."""
        shards, ends = sections_of(self.index.shards[:, 0])
        start = 0
        for shard, stop in zip(shards.tolist(), ends.tolist(), strict=True):
            signatures = self._signatures(shard, start, stop)
            chosen = np.flatnonzero(self._used.signatures[signatures])
            entries = self._entries[start:stop][chosen]
            place, rest = entries["place"].astype(np.int64), entries["rest"].astype(np.int64)
            parts = [place // (LARGEST * BEFORE), place % BEFORE, place // BEFORE % LARGEST, rest // NUMBER]
            scattered = np.flatnonzero(rest % NUMBER == SCATTERED).tolist()
            yield Section(
                self.files[shard],
                signatures[chosen],
                np.cumsum(parts, axis=0).T * BLOCK,
                {number: self._place(start + int(chosen[number])) for number in scattered},
            )
            start = stop

    def _row(self, subset: "_Subset", number: int) -> int:
        """Which of all samples number `number` of a subset is."""
        if subset.ends is None:
            return number
        section = int(np.searchsorted(subset.ends, number, side="right"))
        within = number - (int(subset.ends[section - 1]) if section else 0)
        start, stop = (int(subset.bounds[section - 1]) if section else 0), int(subset.bounds[section])
        count = int(subset.ends[section]) - (number - within)
        if count == stop - start:
            return start + within
        found = self._signatures(bisect_right(self._ends, start), start, stop)
        return start + int(np.flatnonzero(subset.signatures[found])[within])

    def _signatures(self, shard: int, start: int, stop: int) -> NDArray[np.int64]:
        """The signatures of some samples of a shard."""
        entries = self._entries[start:stop]
        number = (entries["rest"] % NUMBER).astype(np.int64)
        scattered = number == SCATTERED
        if scattered.any():
            piece = (entries["place"][scattered] // (LARGEST * BEFORE)).astype(np.int64)
            number[scattered] = self._pieces[piece + self._first_piece[shard]]
        return self.index.local[number + self._first_local[shard]]

    def _place(self, row: int) -> Place:
        """Where sample `row` of all is."""
        shard = bisect_right(self._ends, row)
        place, rest = self._entries[row].item()
        number, first = rest % NUMBER, place // (LARGEST * BEFORE)
        if number == SCATTERED:
            first += self._first_piece[shard]
            signature = self._local[self._first_local[shard] + int(self._pieces[first])]
            count = len(self.index.signatures[signature].members)
            pieces = self._pieces[first + 1 : first + 1 + count].tolist()
            spans = tuple(
                (piece // PIECE * BLOCK, (piece // PIECE + piece % PIECE) * BLOCK) for piece in pieces
            )
            return Place(self.files[shard], signature, (), spans)
        start = first * BLOCK
        largest = start + place % BEFORE * BLOCK
        after = largest + place // BEFORE % LARGEST * BLOCK
        bounds = (start, largest, after, after + rest // NUMBER * BLOCK)
        return Place(self.files[shard], self._local[self._first_local[shard] + number], bounds)


class _Subset:
    """The samples of some signatures: how many each section has of them; from the census alone.

    ends: where each section ends among them; None where they are all. bounds: where it ends among all.
    """

    def __init__(self, index: TarIndex, signatures: NDArray[np.bool_]) -> None:
        self.signatures = signatures
        section, signature, count, _ = index.census.T
        chosen = signatures[signature]
        self.counts = _sums(signature[chosen], count[chosen], len(signatures))
        self.length = int(self.counts.sum())
        self.ends: NDArray[np.int64] | None = None
        if self.length < len(index):
            _, self.bounds = sections_of(index.shards[:, 0])
            self.ends = np.cumsum(_sums(section[chosen], count[chosen], len(self.bounds)))

    def shard_sizes(self, index: TarIndex) -> list[int]:
        """How many each shard has of them."""
        if self.ends is None:
            return index.shards[:, 0].tolist()
        shards, _ = sections_of(index.shards[:, 0])
        return _sums(shards, np.diff(self.ends, prepend=0), len(index.shards)).tolist()


def _kept(files: Sequence[File], index: TarIndex, keys: Keys, signatures: list[bool]) -> Samples:
    samples = Samples(files, index, keys)
    samples.keep(signatures)
    return samples


def _sums(groups: NDArray[np.int64], values: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """The sum of the values of each group."""
    sums = np.zeros(length, np.int64)
    np.add.at(sums, groups, values)
    return sums
