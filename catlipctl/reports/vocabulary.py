"""Figures of vocabularies: their long tails, and their sizes by threshold (CatLIP Figure 3)."""

from bisect import bisect_right
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from catlipctl import labels
from catlipctl.reports.style import (
    canvas,
    colours,
    is_narrow,
    legend,
    logarithmic,
    numbered,
    outlined,
    short_names,
    thousands,
    widths,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from catlipctl.vocabulary import Vocabulary


def label_frequencies(vocabularies: "Mapping[str, Vocabulary]") -> "Figure":
    """Figure 3a: how often each synset was counted, by rank, both logarithmic.

    vocabularies: name -> Vocabulary. Of a single one, some synsets along the tail are named.
    """
    names, colour = short_names(list(vocabularies)), colours(list(vocabularies))
    figure, axes = canvas("A long tail: few labels are frequent, most are rare", _about(vocabularies))
    for (name, vocabulary), width in zip(vocabularies.items(), widths(len(vocabularies)), strict=True):
        ranks = range(1, len(vocabulary) + 1)
        label = f"{names[name]}: {len(vocabulary):,}, counted {vocabulary.counts[-1]:,} times or more"
        style: dict[str, Any] = {"color": colour[name], "linewidth": width, "label": label}
        axes.plot(ranks, vocabulary.counts, gid=f"frequencies-{name}", **style)
    logarithmic(axes, "x", 1, max(map(len, vocabularies.values())))
    logarithmic(axes, "y", min(v.counts[-1] for v in vocabularies.values()), _most(vocabularies))
    axes.grid(axis="x")
    if len(vocabularies) == 1:
        _name_some(axes, vocabulary, colour[name])
    else:
        legend(axes, "upper right")
    axes.margins(x=0.03, y=0.12)
    axes.set_xlabel("rank (class id + 1)")
    axes.set_ylabel("times counted")
    return figure


def sizes_by_threshold(vocabularies: "Mapping[str, Vocabulary]") -> "Figure":
    """Figure 3b: how many synsets are left at each pruning threshold (V_tau), which is logarithmic.

    vocabularies: name -> Vocabulary. Each line starts at the lowest threshold of which its vocabulary can
    speak (`least_threshold`); of a single one, some numbers along the line are written.
    """
    names, colour = short_names(list(vocabularies)), colours(list(vocabularies))
    figure, axes = canvas(f"The higher the threshold, the fewer {_keys(vocabularies)}", _about(vocabularies))
    for (name, vocabulary), width in zip(vocabularies.items(), widths(len(vocabularies)), strict=True):
        x = _thresholds(vocabulary)
        y = _sizes(vocabulary, x)
        label = f"{names[name]}: {y[0]:,} above {x[0]:,}"
        axes.plot(x, y, color=colour[name], linewidth=width, label=label, gid=f"sizes-{name}")
        axes.plot(x[:1], y[:1], "o", color=colour[name], markersize=4.5)
    if len(vocabularies) == 1:
        marked = [x[0], *_further(x[0], x[-1])]
        sizes = _sizes(vocabulary, marked)
        axes.plot(marked, sizes, "o", color=colour[name], markersize=4.5)
        for at, size in zip(marked, sizes, strict=True):
            outlined(axes, f"{size:,}", (at, size), (6, 5))
    else:
        legend(axes, "upper right")
    logarithmic(axes, "x", min(v.least_threshold for v in vocabularies.values()), _most(vocabularies))
    axes.margins(x=0.03)
    axes.set_ylim(0, 1.15 * max(v.size_at(v.least_threshold) for v in vocabularies.values()))
    more = "" if is_narrow() else ": what is counted more often than this is kept"
    axes.set_xlabel(f"pruning threshold{more}")
    axes.set_ylabel(_keys(vocabularies))
    numbered(axes.yaxis)
    return figure


def _about(vocabularies: "Mapping[str, Vocabulary]") -> str:
    if len(vocabularies) > 1:
        return "Each line is a vocabulary"
    (name, vocabulary), *_ = vocabularies.items()
    (shown,) = short_names([name]).values()
    captions = vocabulary.captions
    counted = "" if captions is None else f" in {thousands(captions)} captions"
    return f"{shown}: {len(vocabulary):,} {_keys(vocabularies)}{counted}"


def _keys(vocabularies: "Mapping[str, Vocabulary]") -> str:
    """What is counted: synsets, or the sub-words of that extractor."""
    kinds = {vocabulary.extractor in labels.SUBWORDS for vocabulary in vocabularies.values()}
    return "labels" if len(kinds) > 1 else "sub-words" if True in kinds else "synsets"


def _most(vocabularies: "Mapping[str, Vocabulary]") -> int:
    return max(vocabulary.counts[0] for vocabulary in vocabularies.values())


def _thresholds(vocabulary: "Vocabulary") -> list[int]:
    """From the least threshold to the largest below the highest count, each a twentieth above the last."""
    found = [vocabulary.least_threshold]
    while found[-1] < vocabulary.counts[0] - 1:
        found.append(min(max(found[-1] + 1, int(found[-1] * 1.05)), vocabulary.counts[0] - 1))
    return found


def _further(first: int, last: int) -> list[int]:
    """10, 100, ... from where a number has room beside that of the first threshold."""
    room = max(2, (last / max(first, 1)) ** 0.12)
    return [10**power for power in range(1, 12) if room * first < 10**power <= last]


def _sizes(vocabulary: "Vocabulary", thresholds: list[int]) -> list[int]:
    ascending = vocabulary.counts[::-1]
    return [len(vocabulary) - bisect_right(ascending, at) for at in thresholds]


def _name_some(axes: "Axes", vocabulary: "Vocabulary", colour: str) -> None:
    names = vocabulary.descriptions()
    shown = sorted({0, 2, 9, 31, 99, 315, 999, 3161, 9999} & set(range(len(names))))
    axes.plot(
        [rank + 1 for rank in shown],
        [vocabulary.counts[rank] for rank in shown],
        "o",
        color=colour,
        markersize=4.5,
        gid="named",
    )
    for rank in shown:
        outlined(axes, names[rank], (rank + 1, vocabulary.counts[rank]), (6, 5))
