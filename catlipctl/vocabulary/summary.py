"""What is in a vocabulary, at a glance."""

from pydantic import BaseModel

from catlipctl.results import Result
from catlipctl.vocabulary.vocabulary import Vocabulary

THRESHOLDS = (0, 5, 10, 50, 100, 500, 1000, 5000, 10000, 50000, 100000)


class ClassCount(BaseModel):
    """One class: its id (a rank), key, name and count."""

    id: int
    key: str
    name: str
    count: int


class SizeAt(BaseModel):
    """How many classes count more than a threshold."""

    threshold: int
    size: int


class Summary(Result):
    """A vocabulary in numbers.

    coverage: the share of all counted labels that are in the vocabulary. sizes: at the lowest threshold of
    which it has all keys, and at higher ones. top, tail: its first and last classes. path: where its file
    is.
    """

    path: str = ""
    size: int
    extractor: str
    extractor_version: str
    source: str
    counted: str
    threshold: int
    max_size: int | None
    captions: int
    captions_without_label: int
    labels: int
    coverage: float
    dropped_keys: int
    sizes: list[SizeAt]
    top: list[ClassCount]
    tail: list[ClassCount]


def summary(vocabulary: Vocabulary, top: int = 20) -> Summary:
    """The vocabulary in numbers, with its `top` first and last classes."""
    names = vocabulary.descriptions()
    kept = sum(vocabulary.counts)
    least = vocabulary.least_threshold
    thresholds = sorted({least, *(at for at in THRESHOLDS if at > least)})
    sizes = [SizeAt(threshold=at, size=vocabulary.size_at(at)) for at in thresholds]
    rows = [
        ClassCount(id=i, key=key, name=names[i], count=vocabulary.counts[i])
        for i, key in enumerate(vocabulary.keys)
    ]
    return Summary(
        size=len(vocabulary),
        extractor=vocabulary.extractor,
        extractor_version=vocabulary.extractor_version,
        source=vocabulary.source,
        counted=vocabulary.counted,
        threshold=vocabulary.threshold,
        max_size=vocabulary.max_size,
        captions=vocabulary.captions,
        captions_without_label=vocabulary.captions_without_label,
        labels=kept,
        coverage=kept / max(kept + vocabulary.dropped_count, 1),
        dropped_keys=vocabulary.dropped_keys,
        sizes=[at for at in sizes if at.size],
        top=rows[:top],
        tail=rows[max(top, len(rows) - top) :],
    )
