"""A counted vocabulary cut down to a higher threshold, or to fewer classes, without counting again."""

from dataclasses import replace

from catlipctl.errors import DataError, UsageError
from catlipctl.vocabulary.counting import MIN_CLASSES
from catlipctl.vocabulary.vocabulary import Vocabulary


def prune(vocabulary: Vocabulary, *, threshold: int | None = None, max_size: int | None = None) -> Vocabulary:
    """The keys that count more than `threshold`, of these the `max_size` most frequent (V_tau, CatLIP 3.2).

    Equal to `build` over the same captions with the same threshold and size. Class ids stay in their order.

    Raises:
        UsageError: neither is given, or the threshold is below the vocabulary's `least_threshold`: keys that
            count so little are no longer in it.
        DataError: fewer than 100 keys are left.
    """
    if threshold is None and max_size is None:
        raise UsageError("nothing says how far to prune", "give a threshold, a max size, or both")
    if max_size is not None and max_size < MIN_CLASSES:
        raise UsageError(
            f"max size {max_size} is too small", f"a vocabulary has at least {MIN_CLASSES} labels"
        )
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
        raise _too_few(kept, threshold, vocabulary)
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


def _too_few(left: int, threshold: int, vocabulary: Vocabulary) -> DataError:
    message = f"{left} labels count more than {threshold:,}: a vocabulary has at least {MIN_CLASSES}"
    if len(vocabulary) < MIN_CLASSES:
        return DataError(message, f"this one has {len(vocabulary)}: count more captions")
    enough = vocabulary.counts[MIN_CLASSES - 1] - 1
    if enough < vocabulary.least_threshold:
        return DataError(message, "count more captions")
    return DataError(message, f"take a lower one: --threshold {enough}")
