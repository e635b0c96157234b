"""Figures of what vocabularies cover of a label set (CatLIP Figures 2b and 2c)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from catlipctl.reports.style import FAINT, LEGEND, MUTED, canvas, colours, numbered, outlined

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
        axes.legend(loc="lower right", **LEGEND)
    numbered(axes.yaxis)
    return figure
