"""What is in a vocabulary, at a glance; and how it was counted, if that was now."""

from collections.abc import Sequence

from pydantic import BaseModel, Field

from catlipctl.results import Result
from catlipctl.vocabulary.counting import Tally
from catlipctl.vocabulary.vocabulary import Vocabulary

THRESHOLDS = (0, 5, 10, 50, 100, 500, 1000, 5000, 10000, 50000, 100000)


class ClassCount(BaseModel):
    """One class: its id (a rank), key, name and count."""

    id: int
    key: str
    name: str
    count: int


class SizeAt(BaseModel):
    """How many classes count more than a threshold, and what share of all counted labels they are."""

    threshold: int
    size: int
    share: float | None


class Summary(Result):
    """A vocabulary in numbers.

    coverage: the share of all counted labels that are in the vocabulary. sizes: at the lowest threshold of
    which it has all keys, and at higher ones. top, tail: its first and last classes. path: where its file
    is. files: plots that were saved of it. None: an imported vocabulary does not say.
    """

    path: str = ""
    size: int
    extractor: str
    extractor_version: str
    source: str
    counted: str
    threshold: int
    max_size: int | None
    captions: int | None
    captions_without_label: int | None
    labels: int
    coverage: float | None
    dropped_keys: int | None
    undercount: int
    faults: dict[str, int]
    sizes: list[SizeAt]
    top: list[ClassCount]
    tail: list[ClassCount]
    files: list[str] = Field(default_factory=list)


def summary(vocabulary: Vocabulary, top: int = 20) -> Summary:
    """The vocabulary in numbers, with its `top` first and last classes."""
    names = vocabulary.descriptions()
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
        labels=sum(vocabulary.counts),
        coverage=_share(vocabulary, vocabulary.counts),
        dropped_keys=vocabulary.dropped_keys,
        undercount=vocabulary.undercount,
        faults=vocabulary.faults,
        sizes=_sizes(vocabulary),
        top=rows[:top],
        tail=rows[max(top, len(rows) - top) :],
    )


def _sizes(vocabulary: Vocabulary) -> list[SizeAt]:
    least = vocabulary.least_threshold
    sizes = []
    for at in sorted({least, *(at for at in THRESHOLDS if at > least)}):
        kept = [count for count in vocabulary.counts if count > at]
        if kept:
            sizes.append(SizeAt(threshold=at, size=len(kept), share=_share(vocabulary, kept)))
    return sizes


def _share(vocabulary: Vocabulary, counts: Sequence[int]) -> float | None:
    """What these counts are of all counted labels, those of dropped keys too."""
    if vocabulary.dropped_count is None:
        return None
    return sum(counts) / max(sum(vocabulary.counts) + vocabulary.dropped_count, 1)


class Built(Summary):
    """A vocabulary that was counted now.

    shards_counted: shards that were counted in this call, in `seconds`. shards_kept: shards whose counts an
    earlier call had left in the cache folder. captions_per_second: of all workers; None where none counted.
    """

    shards_counted: int
    shards_kept: int
    seconds: float
    captions_per_second: float | None


def built(vocabulary: Vocabulary, tally: Tally, top: int = 5) -> Built:
    """The result of a build, with the vocabulary's `top` first and last classes."""
    return Built(
        **summary(vocabulary, top).model_dump(),
        shards_counted=tally.counted,
        shards_kept=tally.kept,
        seconds=tally.seconds,
        captions_per_second=tally.captions / tally.seconds if tally.captions else None,
    )
