"""What `inspect` keeps of what it looks through: little of each image and caption: they may be many."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple

import numpy as np

from catlipctl.data.decode import UnreadableImage, decode
from catlipctl.data.sample import Source
from catlipctl.progress import Progress

Extract = Callable[[str], Sequence[object]]
EXAMPLES = 10
REPEATED = 5
_IN_FLIGHT = 64


class _Look(NamedTuple):
    """A decoded image: its bytes, their hash, width and height; None where it is unreadable."""

    key: str
    size: int
    digest: bytes
    shape: tuple[int, int] | None


class ImageCounts(NamedTuple):
    """What was found in the images of one source."""

    looked_at: int
    unreadable: int


class ImageTally:
    """Images that were decoded, in how many bytes and pixels, and which have the bytes of one before."""

    def __init__(self) -> None:
        self.looked_at = self.broken = self.repeated = 0
        self.widths, self.heights, self.sizes = array("q"), array("q"), array("q")
        self.unreadable: list[str] = []
        self.pairs: list[tuple[str, str]] = []
        self._first: dict[bytes, str] = {}

    def look(self, source: Source, rows: Sequence[int], progress: Progress) -> ImageCounts:
        """Decode the images of some samples."""
        broken = self.broken
        with progress.task("decoding images", len(rows), "images") as task, ThreadPoolExecutor() as pool:
            for found in _mapped(pool, lambda row: _look(source, row), rows):
                task.advance()
                self._add(found)
        self.looked_at += len(rows)
        return ImageCounts(len(rows), self.broken - broken)

    def _add(self, found: _Look) -> None:
        if found.size:
            if found.digest in self._first:
                self.repeated += 1
                first = self._first[found.digest]
                self.pairs += [(first, found.key)] if len(self.pairs) < EXAMPLES else []
            else:
                self._first[found.digest] = found.key
        if found.shape is None:
            self.broken += 1
            self.unreadable += [found.key] if len(self.unreadable) < EXAMPLES else []
        else:
            self.widths.append(found.shape[0])
            self.heights.append(found.shape[1])
            self.sizes.append(found.size)


def _look(source: Source, row: int) -> _Look:
    key, image, *_ = source[row]
    digest = blake2b(image or b"", digest_size=16).digest()
    try:
        return _Look(key, len(image or b""), digest, None if image is None else decode(image).size)
    except UnreadableImage:
        return _Look(key, len(image or b""), digest, None)


def _mapped(pool: ThreadPoolExecutor, look: Callable[[int], _Look], rows: Sequence[int]) -> Iterator[_Look]:
    """Results in order, a few at a time: an executor's own map would hold all that is not yet asked for."""
    numbers = iter(rows)
    while batch := list(islice(numbers, _IN_FLIGHT)):
        yield from pool.map(look, batch)


class CaptionCounts(NamedTuple):
    """What was found in the captions of one source; without_label: None where no extractor was given."""

    captions: int
    without_label: int | None


class CaptionTally:
    """Captions: how long they are, what labels they give, and which are said again."""

    def __init__(self) -> None:
        self.lengths = array("q")
        self.samples_without = self.without_label = self.samples_without_label = 0
        self.labels: Counter[str] = Counter()
        self.examples: list[str] = []
        # Hashes, not texts: ten million captions are a gigabyte, their hashes 80 MB.
        self._hashes = array("q")

    def read(
        self, source: Source, extract: Extract | None, shown: set[int], progress: Progress
    ) -> CaptionCounts:
        """Read all captions; those of the samples `shown` are kept as examples."""
        count, without_label = len(self.lengths), self.without_label
        with progress.task("reading captions", len(source), "samples") as task:
            for number, captions in enumerate(source.captions()):
                task.advance()
                written = [caption for caption in captions if caption.strip()]
                self.lengths.extend(map(len, written))
                self._hashes.extend(map(hash, written))
                self.samples_without += not written
                self.examples += written[:1] if number in shown else []
                if extract is not None:
                    self._label(written, extract)
        read = len(self.lengths) - count
        return CaptionCounts(read, None if extract is None else self.without_label - without_label)

    def _label(self, captions: Sequence[str], extract: Extract) -> None:
        labels = [set(map(str, extract(caption))) for caption in captions]
        for of_caption in labels:
            self.labels.update(of_caption)
            self.without_label += not of_caption
        self.samples_without_label += not any(labels)

    def repeated(self, sources: Sequence[Source]) -> tuple[int, list[tuple[str, int]]]:
        """How many captions had been said before, and the commonest, which `sources` are read again for."""
        values, counts = np.unique(np.frombuffer(self._hashes, np.int64), return_counts=True)
        order = np.argsort(-counts, kind="stable")[:REPEATED]
        wanted = {int(values[at]): int(counts[at]) for at in order if counts[at] > 1}
        found: dict[str, int] = {}
        for captions in (captions for source in sources for captions in source.captions()):
            if not wanted:
                break
            for caption in captions:
                if count := wanted.pop(hash(caption), 0):
                    found[caption] = count
        commonest = sorted(found.items(), key=lambda item: (-item[1], item[0]))
        return len(self._hashes) - len(values), commonest
