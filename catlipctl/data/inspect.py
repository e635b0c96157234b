"""What is in a source, before hours are spent on it: counts, faults, image sizes, captions without labels."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from pydantic import BaseModel

from catlipctl.data.decode import UnreadableImage, decode
from catlipctl.data.sample import Source
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Result

Extract = Callable[[str], Sequence[object]]
Looked = tuple[str, int, tuple[int, int] | None]
_IN_FLIGHT = 64


class Spread(BaseModel):
    """Smallest, middle and largest of what was looked at."""

    minimum: float
    median: float
    maximum: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """The spread of some values, None of none."""
        if not values:
            return None
        return cls(minimum=min(values), median=float(np.median(values)), maximum=max(values))


class Images(BaseModel):
    """The images that were decoded, evenly spread over the source; width and height in pixels."""

    looked_at: int
    unreadable: int
    unreadable_examples: list[str]
    width: Spread | None
    height: Spread | None
    bytes: Spread | None


class Captions(BaseModel):
    """All captions. samples_without: samples whose captions are all blank or missing.

    samples_without_label: samples from whose captions `extractor` makes no label (None: none was given).
    """

    count: int
    characters: Spread | None
    samples_without: int
    samples_without_label: int | None
    extractor: str | None


class Inspection(Result):
    """What a source holds.

    samples: how many can be used. faults: what was passed over when it was opened, by kind.
    shards: files that hold the samples (0: each image is a file of its own).
    classes: class labels by name, with counts (empty: there are none).
    """

    source: str
    fingerprint: str
    samples: int
    shards: int
    workers: int
    shards_per_worker: float
    faults: dict[str, int]
    images: Images
    captions: Captions
    classes: dict[str, int]


def inspect(
    source: Source,
    extract: Extract | None = None,
    *,
    sample: int | None = 2000,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Inspection:
    """Look through a source: all captions and labels, and the images of `sample` samples (None: of all).

    extract: one caption -> its label keys; its `name`, if it has one, is reported.
    workers: over how many loader workers the shards would be spread (default: the machine's cores).
    """
    workers = workers or os.cpu_count() or 1
    labels = [label for label in source.labels() if label is not None]
    names, counts = np.unique(np.array(labels, dtype=str), return_counts=True)
    return Inspection(
        source=source.name,
        fingerprint=source.fingerprint,
        samples=len(source),
        shards=source.shards,
        workers=workers,
        shards_per_worker=source.shards / workers,
        faults=dict(source.faults),
        images=_look_at_images(source, sample, progress),
        captions=_look_at_captions(source, extract, progress),
        classes=dict(zip(names.tolist(), counts.tolist(), strict=True)),
    )


def _look_at_images(source: Source, sample: int | None, progress: Progress) -> Images:
    count = len(source) if sample is None else min(sample, len(source))
    rows = np.linspace(0, len(source) - 1, count).astype(int).tolist() if count else []
    unreadable: list[str] = []
    broken = 0
    widths, heights, sizes = [], [], []

    def look(row: int) -> Looked:
        key, image, *_ = source[row]
        try:
            return key, len(image or b""), None if image is None else decode(image).size
        except UnreadableImage:
            return key, len(image or b""), None

    with progress.task("decoding images", len(rows), "images") as task, ThreadPoolExecutor() as pool:
        for key, size, shape in _mapped(pool, look, rows):
            task.advance()
            if shape is None:
                broken += 1
                unreadable += [key] if len(unreadable) < 10 else []
            else:
                widths.append(shape[0])
                heights.append(shape[1])
                sizes.append(size)
    return Images(
        looked_at=len(rows),
        unreadable=broken,
        unreadable_examples=unreadable,
        width=Spread.of(widths),
        height=Spread.of(heights),
        bytes=Spread.of(sizes),
    )


def _mapped(pool: ThreadPoolExecutor, look: Callable[[int], Looked], rows: Sequence[int]) -> Iterator[Looked]:
    """Results in order, a few at a time: an executor's own map would hold all that is not yet asked for."""
    numbers = iter(rows)
    while batch := list(islice(numbers, _IN_FLIGHT)):
        yield from pool.map(look, batch)


def _look_at_captions(source: Source, extract: Extract | None, progress: Progress) -> Captions:
    lengths: list[int] = []
    blank = unlabelled = 0
    with progress.task("reading captions", len(source), "samples") as task:
        for captions in source.captions():
            task.advance()
            written = [caption for caption in captions if caption.strip()]
            lengths += [len(caption) for caption in written]
            blank += not written
            if extract is not None:
                unlabelled += not any(extract(caption) for caption in written)
    return Captions(
        count=len(lengths),
        characters=Spread.of(lengths),
        samples_without=blank,
        samples_without_label=None if extract is None else unlabelled,
        extractor=None if extract is None else getattr(extract, "name", None),
    )
