"""Vocabularies of several sources as one: what was counted apart, counted together."""

from collections import Counter
from collections.abc import Iterable, Sequence

from catlipctl.errors import DataError
from catlipctl.progress import SILENT, Progress
from catlipctl.vocabulary.pruning import prune
from catlipctl.vocabulary.vocabulary import Vocabulary

AND = " + "
"""Between the sources of a merged vocabulary."""


def merge(
    parts: Sequence[tuple[str, Vocabulary]],
    *,
    threshold: int | None = None,
    max_size: int | None = None,
    progress: Progress = SILENT,
) -> Vocabulary:
    """Counts added by key, captions and faults too; then pruned, if `threshold` or `max_size` is given.

    parts: each vocabulary with its name for messages. Their order makes no difference.

    Of whole vocabularies (nothing dropped) this is exactly the vocabulary of all their captions together. A
    pruned one lacks the keys that it counted up to t times (its `least_threshold`), so that a key which only
    some of the parts have is counted too low, by up to t for each part that lacks it, and a key that all
    lack may have been counted as often as all their t together, T, which is more than any of them. The
    merged vocabulary says so in two numbers, for which this holds: a key that was truly counted c times,
    c > threshold + undercount, is in it, with a count from c - undercount to c (`least_threshold` in place of
    the threshold, where it is then cut by its size).

    undercount: the most that any key's count may lack. threshold: T - undercount, at least; every key of the
    parts counts more (but for ties where a part was cut by its size). So two parts pruned at 500 have T =
    1,000 and, if some key is in one of them alone, threshold 500 and undercount 500; if both have the same
    keys, the counts are exact, the undercount is 0, and the threshold 1,000. A lower one is refused.

    Raises:
        DataError: the parts differ in extractor, its version or what counts; or fewer than 100 keys are left
            when pruned.
        UsageError: the threshold is below what the parts allow.
    """
    _refuse_different(parts)
    vocabularies = [vocabulary for _, vocabulary in parts]
    counts: Counter[str] = Counter()
    allowed: Counter[str] = Counter()
    for each in vocabularies:
        counts.update(dict(zip(each.keys, each.counts, strict=True)))
        allowed.update(dict.fromkeys(each.keys, each.least_threshold))
    lowest = min(allowed.values())
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    kept = [row for row in rows if row[1] > lowest]
    if not kept:
        raise DataError("no key counts more than the vocabularies may lack", "build over all at once")
    whole = all(each.dropped_keys == 0 for each in vocabularies)
    dropped = _sum(each.dropped_count for each in vocabularies)
    merged = Vocabulary(
        keys=tuple(key for key, _ in kept),
        counts=tuple(count for _, count in kept),
        extractor=vocabularies[0].extractor,
        extractor_version=vocabularies[0].extractor_version,
        source=AND.join(sorted(name for each in vocabularies for name in each.source.split(AND))),
        captions=_sum(each.captions for each in vocabularies),
        captions_without_label=_sum(each.captions_without_label for each in vocabularies),
        counted=vocabularies[0].counted,
        threshold=lowest,
        # Which keys the pruned parts dropped is not known, nor whether other parts have them.
        dropped_keys=len(rows) - len(kept) if whole else None,
        dropped_count=None if dropped is None else dropped + sum(count for _, count in rows[len(kept) :]),
        faults=_faults(vocabularies),
        undercount=sum(_most_lacking(each) for each in vocabularies) - lowest,
    )
    if threshold is not None or max_size is not None:
        merged = prune(merged, threshold=threshold, max_size=max_size)
    _warn(parts, merged, progress)
    return merged


def _most_lacking(vocabulary: Vocabulary) -> int:
    """How often a key that is not in the vocabulary was counted at most."""
    return vocabulary.least_threshold + vocabulary.undercount


def _refuse_different(parts: Sequence[tuple[str, Vocabulary]]) -> None:
    first, one = parts[0]
    for name, other in parts[1:]:
        for what, this, that in (
            ("extractor", _extractor(one), _extractor(other)),
            ("count", one.counted, other.counted),
        ):
            if this != that:
                raise DataError(
                    f"{first} and {name} cannot be added: one has {what} {this}, the other {that}",
                    "count both alike: catlipctl vocab build --data SOURCE --extractor NAME --count WHAT",
                )


def _extractor(vocabulary: Vocabulary) -> str:
    return f"{vocabulary.extractor} {vocabulary.extractor_version}"


def _warn(parts: Sequence[tuple[str, Vocabulary]], merged: Vocabulary, progress: Progress) -> None:
    seen: dict[str, str] = {}
    for name, each in parts:
        for source in sorted(set(each.source.split(AND))):
            if source in seen:
                progress.warn(
                    f"{seen[source]} and {name} both counted {source}: the same captions count twice"
                )
            seen.setdefault(source, name)
    pruned = [name for name, each in parts if _most_lacking(each)]
    if pruned:
        lacking = f"{pruned[0]} lacks" if len(pruned) == 1 else f"{pruned[0]} and {len(pruned) - 1} more lack"
        low = f"counts may be low by up to {merged.undercount:,}, and " if merged.undercount else ""
        progress.warn(
            f"{lacking} rare labels: {low}labels that count up to {_most_lacking(merged):,} in all may be "
            "missing; for exact counts build each with --threshold 0, or all sources at once"
        )


def _faults(vocabularies: Iterable[Vocabulary]) -> dict[str, int]:
    faults: Counter[str] = Counter()
    for each in vocabularies:
        faults.update(each.faults)
    return dict(sorted(faults.items()))


def _sum(numbers: Iterable[int | None]) -> int | None:
    known = list(numbers)
    return None if None in known else sum(number for number in known if number is not None)
