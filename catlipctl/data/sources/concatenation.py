"""Several sources as one, each as often as its weight says."""

import hashlib
import json
import shlex
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise

from catlipctl.data.sample import Labels, Sample, Source, class_names


class Weighted:
    """A source that stands `weight` times: whole times all of it, and for the rest every so-manieth sample.

    With n samples and weight w there are round(w n), at least one; number j is sample j mod n in the whole
    rounds, and in the last, partial round of m samples number k is sample floor(k n / m).
    """

    def __init__(self, source: Source, weight: float) -> None:
        self.source, self.weight = source, weight
        self._samples = len(source)
        self._length = max(1, round(weight * self._samples))
        self._rounds, self._rest = divmod(self._length, self._samples)

    @property
    def spec(self) -> str:
        """The SOURCE text with its weight."""
        return self.source.name if self.weight == 1 else f"{self.source.name}={self.weight:g}"

    def __len__(self) -> int:
        return self._length

    def sample(self, number: int) -> int:
        """Which sample of the source number `number` is."""
        turn, within = divmod(number, self._samples)
        return within if turn < self._rounds else within * self._samples // self._rest

    def __getitem__(self, number: int) -> Sample:
        return self.source[self.sample(number)]

    def captions(self) -> Iterator[tuple[str, ...]]:
        """As often as the samples stand."""
        for _ in range(self._rounds):
            yield from self.source.captions()
        if self._rest:
            chosen = {k * self._samples // self._rest for k in range(self._rest)}
            yield from (texts for at, texts in enumerate(self.source.captions()) if at in chosen)

    @property
    def shard_sizes(self) -> list[int]:
        """The source's shards in each whole round, and what the last, partial round takes of each."""
        sizes = list(self.source.shard_sizes)
        # The partial round takes ceil(s m / n) of the first s samples: all k with floor(k n / m) < s.
        taken = [-(-end * self._rest // self._samples) for end in accumulate(sizes, initial=0)]
        rest = [stop - start for start, stop in pairwise(taken) if stop > start]
        return sizes * self._rounds + rest

    def labels(self) -> list[Labels]:
        """As often as the samples stand."""
        labels = self.source.labels()
        return [labels[self.sample(number)] for number in range(len(self))]


class Concatenation:
    """Sources one after the other, with weights. parts: each of them."""

    def __init__(self, sources: Sequence[Source], weights: Sequence[float]) -> None:
        self.parts = [Weighted(source, weight) for source, weight in zip(sources, weights, strict=True)]
        self._ends = list(accumulate(len(part) for part in self.parts))
        self.name = " + ".join(part.spec for part in self.parts)
        identity = [[source.fingerprint, weight] for source, weight in zip(sources, weights, strict=True)]
        self.fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
        self.shards = sum(source.shards for source in sources)
        counts: Counter[str] = Counter()
        for source in sources:
            counts.update(source.faults)
        self.faults: Mapping[str, int] = dict(counts)

    @property
    def shard_sizes(self) -> list[int]:
        """The shards of all parts, as often as their samples stand."""
        return [size for part in self.parts for size in part.shard_sizes]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of the parts, where all have the same."""
        orders = {class_names(part.source) for part in self.parts}
        return orders.pop() if len(orders) == 1 else ()

    def __len__(self) -> int:
        return self._ends[-1]

    def place(self, index: int) -> tuple[Weighted, int]:
        """The part in which a sample stands, and its number there."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        part = bisect_right(self._ends, index)
        return self.parts[part], index - (self._ends[part - 1] if part else 0)

    def __getitem__(self, index: int) -> Sample:
        part, number = self.place(index)
        return part[number]

    def captions(self) -> Iterator[tuple[str, ...]]:
        """The captions of all samples in storage order."""
        for part in self.parts:
            yield from part.captions()

    def labels(self) -> list[Labels]:
        """The classes of every sample in storage order."""
        return [label for part in self.parts for label in part.labels()]


def inspect_command(source: Source) -> str:
    """The shell command that looks at a source, each of its parts named by a --data of its own."""
    specs = [part.spec for part in source.parts] if isinstance(source, Concatenation) else [source.name]
    return shlex.join(
        ["catlipctl", "data", "inspect", *(word for spec in specs for word in ("--data", spec))]
    )
