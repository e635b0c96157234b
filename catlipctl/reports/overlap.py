"""Figures of what vocabularies cover of a label set (CatLIP Figures 2b and 2c).

Each takes: name of a vocabulary -> its Overlap, all of one target and of one kind of senses.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median_low
from typing import TYPE_CHECKING

from catlipctl.reports.style import (
    FAINT,
    LEGEND,
    MUTED,
    canvas,
    colours,
    logarithmic,
    numbered,
    outlined,
    panels,
    short_names,
    thousands,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from catlipctl.vocabulary.overlap import Overlap, Step

SENSES = {"wnid": "the label set's own senses", "extracted": "senses extracted from label names"}
DASHES = ((4, 2), (1, 1.5), (6, 2, 1, 2))
BINS_A_DECADE = 5


def overlap(overlaps: "Mapping[str, Overlap]") -> "Figure":
    """Figure 2b: classes of the target with a match at path similarity >= 1, 1/2, ...; dashed, those that the
    extractor can reach at all.
    """
    first, single = next(iter(overlaps.values())), len(overlaps) == 1
    names, colour = short_names(list(overlaps)), colours(list(overlaps))
    figure, axes = canvas(f"How much of {first.target} the captions cover", _about(overlaps))
    ceilings = {result.extractor: result.ceiling for result in overlaps.values() if result.ceiling}
    for (extractor, ceiling), dashes in zip(ceilings.items(), DASHES, strict=False):
        label = f"what {extractor} can reach"
        _stairs(axes, ceiling, MUTED, label, f"ceiling-{extractor}", linestyle=(0, dashes), linewidth=1.4)
    for name, result in overlaps.items():
        _stairs(axes, result.steps, colour[name], names[name], f"overlap-{name}")
    if single:
        _name_stairs(axes, first)
    axes.axhline(first.classes, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        f"all {first.classes:,} classes",
        (len(first.steps), first.classes),
        (0, 4),
        textcoords="offset points",
        ha="right",
        color=MUTED,
    )
    axes.set_xlim(0, len(first.steps))
    axes.set_ylim(0, first.classes * 1.12)
    axes.set_xticks(
        [i + 0.5 for i in range(len(first.steps))], [f"≥ {step.at_least}" for step in first.steps]
    )
    axes.set_xlabel("WordNet path similarity of the nearest synset")
    axes.set_ylabel("target classes")
    axes.legend(loc="lower right", **LEGEND)
    numbered(axes.yaxis)
    return figure


def occurrences(overlaps: "Mapping[str, Overlap]") -> "Figure":
    """Figure 2c: how often those synsets of the target were counted that are in the vocabulary, as a
    histogram with a logarithmic axis; the median as a dotted line.
    """
    first, single = next(iter(overlaps.values())), len(overlaps) == 1
    names, colour = short_names(list(overlaps)), colours(list(overlaps))
    figure, axes = canvas(f"How often the captions name the synsets of {first.target}", _about(overlaps))
    counts = {name: list(result.occurrences.values()) for name, result in overlaps.items()}
    edges = _edges([count for found in counts.values() for count in found] or [1])
    for name, result in overlaps.items():
        found = counts[name]
        own = _edges(found or [1])
        height = [sum(low <= count < high for count in found) for low, high in pairwise(own)]
        share = f"{len(found):,} of {result.target_synsets:,} synsets"
        middle = f", median {thousands(median_low(found))}" if found else ""
        label = f"{share}{middle}" if single else f"{names[name]}: {share}{middle}"
        if single:
            axes.stairs(height, own, color=colour[name], fill=True, alpha=0.2)
        axes.stairs(height, own, color=colour[name], linewidth=2, label=label, gid=f"occurrences-{name}")
        if found:
            axes.vlines(median_low(found), 0, max(height), color=colour[name], linewidth=1.2, linestyle=":")
    logarithmic(axes, "x", edges[0], edges[-1])
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, (1.1 + 0.08 * len(overlaps)) * max(axes.get_ylim()[1], 1))
    axes.set_xlabel("times counted")
    axes.set_ylabel("target synsets")
    axes.legend(loc="upper right", **LEGEND)
    numbered(axes.yaxis)
    return figure


def coverage(overlaps: "Mapping[str, Overlap]") -> "Figure":
    """What the threshold costs: recall and precision of label coverage at rising pruning thresholds."""
    first = next(iter(overlaps.values()))
    names, colour = short_names(list(overlaps)), colours(list(overlaps))
    figure, made = panels(f"What the threshold costs on {first.target}", _about(overlaps))
    measures = {
        "recall": "recall: classes covered whole",
        "precision": "precision: synsets that are the target's",
    }
    lows = [result.coverage[0].threshold for result in overlaps.values()]
    highs = [result.coverage[-1].threshold for result in overlaps.values()]
    for axes, (measure, label) in zip(made, measures.items(), strict=True):
        highest = 0.0
        for name, result in overlaps.items():
            x = [row.threshold for row in result.coverage]
            y = [float(getattr(row, measure)) for row in result.coverage]
            axes.plot(
                x, y, "o-", color=colour[name], markersize=4, label=names[name], gid=f"{measure}-{name}"
            )
            if len(overlaps) == 1:
                rising = len(y) > 1 and y[1] > y[0]
                outlined(axes, f"{y[0]:.1%}", (x[0], y[0]), (4, -14) if rising else (4, 6))
            highest = max(highest, *y)
        logarithmic(axes, "x", min(lows), max(highs), ticks=6)
        axes.margins(x=0.06)
        axes.set_ylim(0, 1.18 * highest or 1)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
        axes.set_xlabel("pruning threshold")
        axes.set_ylabel(label)
    if len(overlaps) > 1:
        columns = min(len(overlaps), 3)
        figure.legend(
            *made[0].get_legend_handles_labels(), loc="outside lower center", ncols=columns, **LEGEND
        )
    return figure


def _about(overlaps: "Mapping[str, Overlap]") -> str:
    first = next(iter(overlaps.values()))
    shown = "each line is a vocabulary"
    if len(overlaps) == 1:
        (name,) = short_names(list(overlaps)).values()
        shown = f"{name}, {first.vocabulary_size:,} synsets"
    about = f"{shown}; {SENSES[first.senses]}"
    return about[:1].upper() + about[1:] if len(overlaps) > 1 else about


def _stairs(
    axes: "Axes", steps: "Sequence[Step]", colour: str, label: str, gid: str, **style: object
) -> None:
    # The last step is as wide as the others.
    x, y = range(len(steps) + 1), [step.classes for step in [*steps, steps[-1]]]
    axes.plot(x, y, drawstyle="steps-post", color=colour, label=label, gid=gid, **style)  # type: ignore[arg-type]


def _name_stairs(axes: "Axes", result: "Overlap") -> None:
    """Write each new number above its line; below, where the next line is close; and the ceiling's where they
    touch no other line.
    """
    room = 0.08 * result.classes
    below = ceiling_below = -1
    for i, step in enumerate(result.steps):
        ceiling = result.ceiling[i].classes if result.ceiling else result.classes
        next_line = ceiling if ceiling > step.classes else result.classes
        offset = (0, -13) if 0 < next_line - step.classes < room else (0, 4)
        if below < step.classes < result.classes:  # all of them are named at their line
            outlined(axes, f"{step.classes:,}", (i + 0.5, step.classes), offset, ha="center")
        if ceiling > ceiling_below and step.classes + room < ceiling < result.classes - room / 2:
            outlined(axes, f"{ceiling:,}", (i + 0.5, ceiling), (0, 4), ha="center", color=MUTED)
        below, ceiling_below = step.classes, ceiling


def _edges(counts: Sequence[int]) -> list[float]:
    """Edges of the bins that hold the counts: of one width on a logarithmic axis, the same bins for all."""
    places = [math.floor(BINS_A_DECADE * math.log10(max(count, 1)) + 0.5) for count in counts]
    return [10 ** ((place - 0.5) / BINS_A_DECADE) for place in range(min(places), max(places) + 2)]
