"""Counting a source's label keys into a vocabulary (CatLIP 3.1, 3.2)."""

from collections import Counter

from catlipctl import labels
from catlipctl.data.sample import Source
from catlipctl.errors import DataError, UsageError
from catlipctl.labels import Extractor
from catlipctl.progress import SILENT, Progress
from catlipctl.vocabulary.vocabulary import Counted, Vocabulary

THRESHOLD = 500
"""V_tau of the paper's experiments (CatLIP 3.2)."""
MIN_CLASSES = 100
SHOWN_THRESHOLDS = (5, 10, 50, 100)
REPORT_EVERY = 1000


def build(
    source: Source,
    *,
    extractor: str = "corenet",
    threshold: int | None = None,
    max_size: int | None = None,
    count: Counted = "occurrences",
    progress: Progress = SILENT,
) -> Vocabulary:
    """The keys that occur more than `threshold` times in the source's captions, or the `max_size` most
    frequent.

    The threshold is 500 where neither is given, and 0 where only `max_size` is; given both, both hold.
    Raises DataError where the source has no captions, or fewer than 100 keys are left.
    """
    if threshold is None:
        threshold = THRESHOLD if max_size is None else 0
    if threshold < 0:
        raise UsageError(f"threshold {threshold} is negative", "0 keeps every label that occurs")
    if max_size is not None and max_size < MIN_CLASSES:
        raise UsageError(
            f"max size {max_size} is too small", f"a vocabulary has at least {MIN_CLASSES} labels"
        )
    counts, captions, without = count_keys(source, labels.extractor(extractor), count, progress)
    if not captions:
        raise DataError(
            f"{source.name} has no captions", "say where they are: --caption-key txt, json:caption, a column"
        )
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kept = [item for item in ordered if item[1] > threshold][:max_size]
    if len(kept) < MIN_CLASSES:
        raise _too_few(len(kept), threshold, counts)
    dropped = ordered[len(kept) :]
    return Vocabulary(
        keys=tuple(key for key, _ in kept),
        counts=tuple(number for _, number in kept),
        extractor=extractor,
        extractor_version=labels.extractor(extractor).version,
        source=source.name,
        captions=captions,
        captions_without_label=without,
        counted=count,
        threshold=threshold,
        dropped_keys=len(dropped),
        dropped_count=sum(number for _, number in dropped),
        max_size=max_size,
    )


def count_keys(
    source: Source, extract: Extractor, count: Counted = "occurrences", progress: Progress = SILENT
) -> tuple[Counter[str], int, int]:
    """How often each key comes from the source's captions; the captions; those that give no key."""
    counts: Counter[str] = Counter()
    captions = without = samples = 0
    with progress.task("labels", total=len(source), unit="samples") as task:
        for texts in source.captions():
            for text in texts:
                keys = extract(text)
                counts.update(keys if count == "occurrences" else set(keys))
                captions += 1
                without += not keys
            samples += 1
            if samples % REPORT_EVERY == 0:
                task.advance(REPORT_EVERY)
        task.advance(samples % REPORT_EVERY)
    return counts, captions, without


def _too_few(left: int, threshold: int, counts: Counter[str]) -> DataError:
    sizes = [(at, sum(number > at for number in counts.values())) for at in SHOWN_THRESHOLDS]
    listed = ", ".join(f"{size:,} at {at}" for at, size in sizes)
    enough = [at for at, size in sizes if size >= MIN_CLASSES and at < threshold]
    return DataError(
        f"{left} labels occur more than {threshold} times: fewer than {MIN_CLASSES}; by threshold: {listed}",
        f"take a lower one: --threshold {enough[-1]}"
        if enough
        else "count more captions, or take a lower threshold",
    )
