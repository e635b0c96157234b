"""Figures of a vocabulary: its long tail, and what it covers of a label set (CatLIP Figures 3a and 2b)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from catlipctl.reports.style import FAINT, LEGEND, MUTED, canvas, colours, numbered, outlined, thousands

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from catlipctl.vocabulary import Vocabulary
    from catlipctl.vocabulary.overlap import Overlap


def overlap(overlaps: "Mapping[str, Overlap]") -> "Figure":
    """Figure 2b: classes of the target with a match at path similarity >= 1, 1/2, ..., for one or several
    vocabularies.

    overlaps: name of the vocabulary -> its Overlap, all of one target.
    """
    first = next(iter(overlaps.values()))
    colour = colours(list(overlaps))
    single = next(iter(overlaps)) if len(overlaps) == 1 else ""
    figure, axes = canvas(
        f"How much of {first.target} the captions cover",
        f"{single}, {first.vocabulary_size:,} synsets" if single else "Each line is a vocabulary",
    )
    for name, result in overlaps.items():
        x = list(range(len(result.steps) + 1))
        y = [step.classes for step in result.steps]
        # The last step is as wide as the others.
        axes.plot(
            x, [*y, y[-1]], drawstyle="steps-post", color=colour[name], label=name, gid=f"overlap-{name}"
        )
        if single:
            axes.fill_between(x, [*y, y[-1]], step="post", color=colour[name], alpha=0.10, linewidth=0)
            for i, classes in enumerate(y):
                if i == 0 or classes > y[i - 1]:
                    outlined(axes, f"{classes:,}", (i + 0.5, classes), (0, 4), ha="center")
    axes.axhline(first.classes, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        f"all {first.classes:,} classes", (0, first.classes), (4, 4), textcoords="offset points", color=MUTED
    )
    axes.set_xlim(0, len(first.steps))
    axes.set_ylim(0, first.classes * 1.12)
    axes.set_xticks(
        [i + 0.5 for i in range(len(first.steps))], [f"≥ {step.at_least}" for step in first.steps]
    )
    axes.set_xlabel("WordNet path similarity of the nearest synset")
    axes.set_ylabel("target classes")
    if not single:
        axes.legend(labelcolor="linecolor", loc="lower right", **LEGEND)
    numbered(axes.yaxis)
    return figure


def label_frequencies(vocabularies: "Mapping[str, Vocabulary]") -> "Figure":
    """Figure 3a: how often each synset was counted, by rank, both logarithmic.

    vocabularies: name -> Vocabulary. Of a single one, some synsets along the tail are named.
    """
    colour = colours(list(vocabularies))
    single = next(iter(vocabularies.items())) if len(vocabularies) == 1 else None
    subtitle = "Each line is a vocabulary"
    if single:
        subtitle = f"{single[0]}: {len(single[1]):,} synsets in {thousands(single[1].captions)} captions"
    figure, axes = canvas("A long tail: few labels are frequent, most are rare", subtitle)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(axis="x")
    for name, vocabulary in vocabularies.items():
        ranks = range(1, len(vocabulary) + 1)
        axes.plot(ranks, vocabulary.counts, color=colour[name], label=name, gid=f"frequencies-{name}")
    if single:
        _name_some(axes, single[1], colour[single[0]])
    else:
        axes.legend(labelcolor="linecolor", loc="upper right", **LEGEND)
    axes.margins(x=0.03, y=0.12)
    axes.set_xlabel("rank of the synset (its class id + 1)")
    axes.set_ylabel("times counted")
    axes.tick_params(which="minor", length=0)
    numbered(axes.xaxis)
    numbered(axes.yaxis)
    return figure


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
