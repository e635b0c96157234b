"""Which of the counted keys are classes: those above a threshold, the most frequent (V_tau, CatLIP 3.2)."""

from collections.abc import Sequence
from dataclasses import replace

from catlipctl import labels
from catlipctl.errors import DataError, UsageError
from catlipctl.vocabulary.counts import Counts
from catlipctl.vocabulary.vocabulary import Counted, Vocabulary

THRESHOLD = 500
"""V_tau of the paper's experiments (CatLIP 3.2)."""
MIN_CLASSES = 100
SHOWN_THRESHOLDS = (5, 10, 50, 100)


class TooFewLabels(DataError):
    """Fewer labels are left than a vocabulary has; `enough` is the highest threshold that leaves enough.

    `enough` is None where no threshold does. The hint is the option of `catlipctl vocab`.
    """

    def __init__(self, message: str, enough: int | None = None) -> None:
        hint = "count more captions" if enough is None else f"take a lower one: --threshold {enough}"
        super().__init__(message, hint)
        self.enough = enough


def limits(threshold: int | None, max_size: int | None) -> int:
    """The threshold: 500 where neither is given, and 0 where only `max_size` is.

    Raises:
        UsageError: they can give no vocabulary.
    """
    if threshold is None:
        threshold = THRESHOLD if max_size is None else 0
    if threshold < 0:
        raise UsageError(f"threshold {threshold} is negative", "0 keeps every label that occurs")
    if max_size is not None and max_size < MIN_CLASSES:
        raise UsageError(
            f"max size {max_size} is too small", f"a vocabulary has at least {MIN_CLASSES} labels"
        )
    return threshold


def pruned(
    counts: Counts,
    *,
    extractor: str,
    source: str,
    threshold: int | None = None,
    max_size: int | None = None,
    count: Counted | None = None,
) -> Vocabulary:
    """The keys that count more than `threshold`, or the `max_size` most frequent; ties by key.

    The threshold is 500 where neither is given, and 0 where only `max_size` is; given both, both hold.
    What counts are occurrences where it is not said, as in CatLIP; of sub-words captions, as in SuperClass.
    Raises TooFewLabels where fewer than 100 keys are left.
    """
    threshold = limits(threshold, max_size)
    count = count or ("captions" if extractor in labels.SUBWORDS else "occurrences")
    numbers = counts.by_caption() if count == "captions" else counts.occurrences
    ordered = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    kept = [item for item in ordered if item[1] > threshold][:max_size]
    if len(kept) < MIN_CLASSES:
        raise _too_few(len(kept), threshold, [number for _, number in ordered])
    dropped = ordered[len(kept) :]
    return Vocabulary(
        keys=tuple(key for key, _ in kept),
        counts=tuple(number for _, number in kept),
        extractor=extractor,
        extractor_version=labels.extractor(extractor).version,
        source=source,
        captions=counts.captions,
        captions_without_label=counts.captions_without_label,
        counted=count,
        threshold=threshold,
        dropped_keys=len(dropped),
        dropped_count=sum(number for _, number in dropped),
        max_size=max_size,
        faults=dict(sorted(counts.faults.counts().items())),
    )


def prune(vocabulary: Vocabulary, *, threshold: int | None = None, max_size: int | None = None) -> Vocabulary:
    """A vocabulary cut down to a higher threshold, or to fewer classes, without counting again.

    Equal to `pruned` of the same counts with the same threshold and size. Class ids stay in their order.

    Raises:
        UsageError: neither is given, or the threshold is below the vocabulary's `least_threshold`: keys that
            count so little are no longer in it.
        TooFewLabels: fewer than 100 keys are left.
    """
    if threshold is None and max_size is None:
        raise UsageError("nothing says how far to prune", "give a threshold, a max size, or both")
    limits(threshold, max_size)
    least = vocabulary.least_threshold
    if threshold is not None and threshold < least:
        raise UsageError(
            f"threshold {threshold:,} is below {least:,}: the vocabulary lacks keys that count less",
            f"take {least} or more, or count again with a lower one: catlipctl vocab build",
        )
    if threshold is None:
        threshold = vocabulary.threshold
        if len(vocabulary) == vocabulary.max_size:  # as many as there may be, and not all: not more now
            max_size = min(vocabulary.max_size, max_size or vocabulary.max_size)
    kept = min(vocabulary.size_at(threshold), len(vocabulary) if max_size is None else max_size)
    if kept < MIN_CLASSES:
        raise _too_few(kept, threshold, vocabulary.counts, least)
    return replace(
        vocabulary,
        keys=vocabulary.keys[:kept],
        counts=vocabulary.counts[:kept],
        threshold=threshold,
        max_size=max_size,
        dropped_keys=_plus(vocabulary.dropped_keys, len(vocabulary) - kept),
        dropped_count=_plus(vocabulary.dropped_count, sum(vocabulary.counts[kept:])),
    )


def _plus(known: int | None, more: int) -> int | None:
    return None if known is None else known + more


def _too_few(left: int, threshold: int, counts: Sequence[int], least: int = 0) -> TooFewLabels:
    """`counts` in descending order; `least`: no threshold below it may be asked for."""
    sizes = ((at, sum(count > at for count in counts)) for at in SHOWN_THRESHOLDS if at >= least)
    listed = ", ".join(f"{size:,} at {at}" for at, size in sizes)
    message = f"{left} labels occur more than {threshold:,} times: fewer than {MIN_CLASSES}"
    enough = counts[MIN_CLASSES - 1] - 1 if len(counts) >= MIN_CLASSES else -1
    return TooFewLabels(
        message + (f"; by threshold: {listed}" if listed else ""), enough if enough >= least else None
    )
