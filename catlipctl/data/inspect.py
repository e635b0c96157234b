"""What is in a source, before hours are spent on it: counts, faults, images, captions and their labels."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from pydantic import BaseModel

from catlipctl.data.feeding import Forecast, Sharing
from catlipctl.data.sample import Source
from catlipctl.data.sources.concatenation import Concatenation, Weighted
from catlipctl.data.tallies import CaptionCounts, CaptionTally, Extract, ImageCounts, ImageTally
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Result, cores

Describe = Callable[[Sequence[str]], list[str]]
LABELS = 50
EXAMPLES = 10


class Spread(BaseModel):
    """Smallest, middle and largest of what was looked at."""

    minimum: float
    median: float
    maximum: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """The spread of some values, None of none."""
        if not len(values):
            return None
        return cls(minimum=min(values), median=float(np.median(values)), maximum=max(values))


class Images(BaseModel):
    """The images that were decoded, evenly spread over the source; width and height in pixels.

    repeated: those among them whose bytes are those of one before; repeated_examples: the keys of such two.
    """

    looked_at: int
    unreadable: int
    unreadable_examples: list[str]
    repeated: int
    repeated_examples: list[tuple[str, str]]
    width: Spread | None
    height: Spread | None
    bytes: Spread | None


class LabelCount(BaseModel):
    """A label's key, its name, and in how many captions it is."""

    key: str
    name: str
    captions: int


class RepeatedCaption(BaseModel):
    """A caption, and how often it is said."""

    caption: str
    count: int


class Captions(BaseModel):
    """All captions. samples_without: samples whose captions are all blank or missing.

    without_label, samples_without_label: captions, and samples from whose captions `extractor` makes no label
    (None: none was given). distinct_labels: how many labels there are; labels: the commonest, first.
    repeated: captions that were said before; most_repeated: the commonest. examples: some, evenly spread.
    """

    count: int
    characters: Spread | None
    samples_without: int
    without_label: int | None
    samples_without_label: int | None
    extractor: str | None
    distinct_labels: int
    labels: list[LabelCount]
    repeated: int
    most_repeated: list[RepeatedCaption]
    examples: list[str]


class Part(BaseModel):
    """One of several sources. epoch: how many samples an epoch takes of it, by its weight.

    The other fields are those of the whole.
    """

    source: str
    weight: float
    samples: int
    epoch: int
    shards: int
    faults: int
    images_looked_at: int
    images_unreadable: int
    captions: int
    captions_without_label: int | None

    @classmethod
    def of(cls, part: Weighted, images: ImageCounts, captions: CaptionCounts) -> "Part":
        """What was found in one source."""
        return cls(
            source=part.source.name,
            weight=part.weight,
            samples=len(part.source),
            epoch=len(part),
            shards=part.source.shards,
            faults=sum(part.source.faults.values()),
            images_looked_at=images.looked_at,
            images_unreadable=images.unreadable,
            captions=captions.captions,
            captions_without_label=captions.without_label,
        )


class Inspection(Result):
    """What a source holds. Several sources are counted once each, whatever their weights.

    samples: how many can be used. faults: what was passed over when it was opened, by kind.
    shards: files that hold the samples (0: each image is a file of its own).
    sharing: how the shards go round. forecast: the loader's speed on this machine (None: not timed).
    classes: class labels by name, with counts (empty: there are none).
    parts: each source, where several are given.
    """

    source: str
    fingerprint: str
    samples: int
    shards: int
    sharing: Sharing
    forecast: Forecast | None = None
    faults: dict[str, int]
    images: Images
    captions: Captions
    classes: dict[str, int]
    parts: list[Part]


def inspect(
    source: Source,
    extract: Extract | None = None,
    describe: Describe = list,
    *,
    sample: int | None = 2000,
    ranks: int = 1,
    workers: int | None = None,
    window: int | None = None,
    progress: Progress = SILENT,
) -> Inspection:
    """Look through a source: all captions and labels, and the images of `sample` samples (None: of all).

    extract: one caption -> its label keys; its `name`, if it has one, is reported. describe: keys -> names.
    ranks, workers: processes of the run, and the loader's workers of each (default: the machine's cores),
    over whom the shards would be spread. window: shards whose samples are mixed, None where all are.
    """
    weighted = source.parts if isinstance(source, Concatenation) else [Weighted(source, 1)]
    total = sum(len(part.source) for part in weighted)
    looked_at, shown = _spread(total, sample), _spread(total, EXAMPLES)
    images, captions = ImageTally(), CaptionTally()
    classes: Counter[str] = Counter()
    parts: list[Part] = []
    start = 0
    for part in weighted:
        stop = start + len(part.source)
        rows = [row - start for row in looked_at if start <= row < stop]
        of_images = images.look(part.source, rows, progress)
        examples = {row - start for row in shown if start <= row < stop}
        of_captions = captions.read(part.source, extract, examples, progress)
        classes.update(name for names in part.source.labels() for name in names or ())
        parts.append(Part.of(part, of_images, of_captions))
        start = stop
    return Inspection(
        source=source.name,
        fingerprint=source.fingerprint,
        samples=total,
        shards=source.shards,
        sharing=Sharing.of(source.shards, ranks, workers or cores(), window),
        faults=dict(source.faults),
        images=_images(images),
        captions=_captions(captions, [part.source for part in weighted], extract, describe),
        classes=dict(sorted(classes.items())),
        parts=parts if len(parts) > 1 else [],
    )


def _spread(length: int, count: int | None) -> list[int]:
    """At most `count` (None: all) of the numbers below `length`, evenly spread."""
    count = length if count is None else min(count, length)
    numbers: list[int] = np.linspace(0, length - 1, count).astype(int).tolist() if count else []
    return numbers


def _images(found: ImageTally) -> Images:
    return Images(
        looked_at=found.looked_at,
        unreadable=found.broken,
        unreadable_examples=found.unreadable,
        repeated=found.repeated,
        repeated_examples=found.pairs,
        width=Spread.of(found.widths),
        height=Spread.of(found.heights),
        bytes=Spread.of(found.sizes),
    )


def _captions(
    found: CaptionTally, sources: Sequence[Source], extract: Extract | None, describe: Describe
) -> Captions:
    commonest = found.labels.most_common(LABELS)
    names = describe([key for key, _ in commonest])
    repeated, most_repeated = found.repeated(sources)
    return Captions(
        count=len(found.lengths),
        characters=Spread.of(found.lengths),
        samples_without=found.samples_without,
        without_label=found.without_label if extract else None,
        samples_without_label=found.samples_without_label if extract else None,
        extractor=getattr(extract, "name", None),
        distinct_labels=len(found.labels),
        labels=[
            LabelCount(key=key, name=name, captions=count)
            for (key, count), name in zip(commonest, names, strict=True)
        ],
        repeated=repeated,
        most_repeated=[RepeatedCaption(caption=text, count=count) for text, count in most_repeated],
        examples=found.examples,
    )
