"""Figures of what vocabularies cover of a label set (CatLIP Figures 2b and 2c).

Each takes: name of a vocabulary -> its Overlap, all of one target and of one kind of senses.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING, Any

from catlipctl.reports.save import save_table
from catlipctl.reports.style import (
    FAINT,
    INK,
    LEGEND,
    MUTED,
    beside,
    canvas,
    colours,
    is_narrow,
    legend,
    logarithmic,
    numbered,
    short_names,
    thousands,
    widths,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from catlipctl.vocabulary.overlap import Overlap, Overlaps, Step

SENSES = {"wnid": "the label set's own senses", "extracted": "senses extracted from label names"}
DASHES = {"dashed": (4, 2), "dotted": (1, 1.5), "dash-dotted": (6, 2, 1, 2)}
BINS_A_DECADE = 5
ROW = 0.5
"""Inches of a row of numbers below the axis."""


def overlap(overlaps: "Mapping[str, Overlap]") -> "Figure":
    """Figure 2b: classes of the target with a match at path similarity >= 1, 1/2, ...; dashed, those that the
    extractor can reach at all. All numbers stand below the axis, a row for each line.
    """
    first = next(iter(overlaps.values()))
    names, colour = short_names(list(overlaps)), colours(list(overlaps))
    rows = [(names[name], result.steps, colour[name]) for name, result in overlaps.items()]
    ceilings = {result.extractor: result.ceiling for result in overlaps.values() if result.ceiling}
    height = 3.9 + ROW * (len(rows) + len(ceilings))
    figure, axes = canvas(f"How much of {first.target} the captions cover", _about(overlaps), height)
    for name, (_, steps, line), width in zip(overlaps, rows, widths(len(rows)), strict=True):
        _stairs(axes, steps, line, f"overlap-{name}", linewidth=width)
    for (extractor, ceiling), kind in zip(ceilings.items(), DASHES, strict=False):
        rows.append((f"what {extractor} can reach, {kind}", ceiling, INK))
        # Drawn last, and with gaps: the line that it is equal to shows through.
        _stairs(axes, ceiling, INK, f"ceiling-{extractor}", linestyle=(0, DASHES[kind]), linewidth=1.2)
    axes.axhline(first.classes, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        f"all {first.classes:,} classes",
        (0, first.classes),
        (2, 4),
        textcoords="offset points",
        color=MUTED,
    )
    axes.set_xlim(0, len(first.steps))
    axes.set_ylim(0, first.classes * 1.12)
    axes.set_xticks([i + 0.5 for i in range(len(first.steps))], [step.at_least for step in first.steps])
    if is_narrow():
        axes.tick_params(axis="x", labelrotation=90)
    axes.set_ylabel("target classes")
    axes.set_xlabel("nearest synset's path similarity, at least")
    numbered(axes.yaxis)
    _numbers_below(axes, rows)
    return figure


def _numbers_below(axes: "Axes", rows: "Sequence[tuple[str, Sequence[Step], str]]") -> None:
    """Each line's name in its colour, and its number below each tick: what a legend says, and the values."""
    upright = is_narrow()
    top = -58 if upright else -46
    for number, (name, steps, colour) in enumerate(rows):
        at = top - 72 * ROW * number
        style: dict[str, Any] = {"textcoords": "offset points", "annotation_clip": False, "color": colour}
        axes.annotate(name, (0, 0), (0, at), fontweight="bold", va="bottom", fontsize=9, **style)
        for i, step in enumerate(steps):
            axes.annotate(
                f"{step.classes:,}",
                (i + 0.5, 0),
                (0, at - 2),
                fontsize=9,
                ha="center",
                va="top",
                rotation=90 if upright else 0,
                gid="number",
                **style,
            )


def save_overlap(result: "Overlaps", folder: Path) -> None:
    """Write a comparison's `matches.csv` and `result.json` into its folder; `result.files` names them too."""
    rows = [
        {"vocabulary": each.vocabulary, **match.row()} for each in result.overlaps for match in each.matches
    ]
    matches = save_table(folder / "matches.csv", rows)
    document = folder / "result.json"
    result.files = [str(document), str(matches), *result.files]
    result.write(document)


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
    legend(axes, "upper right")
    numbered(axes.yaxis)
    return figure


def coverage(overlaps: "Mapping[str, Overlap]") -> "Figure":
    """What the threshold costs: recall and precision of label coverage at rising pruning thresholds."""
    first = next(iter(overlaps.values()))
    names, colour = short_names(list(overlaps)), colours(list(overlaps))
    figure, made = beside(f"What the threshold costs on {first.target}", _about(overlaps))
    measures = {
        "recall": "recall: classes covered whole",
        "precision": "precision: synsets that are the target's",
    }
    lows = [result.coverage[0].threshold for result in overlaps.values()]
    highs = [result.coverage[-1].threshold for result in overlaps.values()]
    for axes, (measure, label) in zip(made, measures.items(), strict=True):
        highest = 0.0
        for (name, result), width in zip(overlaps.items(), widths(len(overlaps)), strict=True):
            x = [row.threshold for row in result.coverage]
            y = [float(getattr(row, measure)) for row in result.coverage]
            ends = f"{y[0]:.1%} above {x[0]:,}"
            axes.plot(
                x,
                y,
                "o-",
                color=colour[name],
                markersize=4,
                linewidth=width,
                label=f"{names[name]}: {ends}" if len(overlaps) > 1 else ends,
                gid=f"{measure}-{name}",
            )
            highest = max(highest, *y)
        logarithmic(axes, "x", min(lows), max(highs), ticks=6)
        axes.margins(x=0.06)
        axes.set_ylim(0, 1.08 * highest or 1)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
        axes.set_xlabel("pruning threshold")
        axes.set_ylabel(measure if is_narrow() else label)
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.22), fontsize=9, **LEGEND)
    return figure


def _about(overlaps: "Mapping[str, Overlap]") -> str:
    first = next(iter(overlaps.values()))
    shown = "each line is a vocabulary"
    if len(overlaps) == 1:
        (name,) = short_names(list(overlaps)).values()
        shown = f"{name}, {first.vocabulary_size:,} synsets"
    about = f"{shown}; {SENSES[first.senses]}"
    return about[:1].upper() + about[1:] if len(overlaps) > 1 else about


def _stairs(axes: "Axes", steps: "Sequence[Step]", colour: str, gid: str, **style: Any) -> None:
    # The last step is as wide as the others.
    x, y = range(len(steps) + 1), [step.classes for step in [*steps, steps[-1]]]
    axes.plot(x, y, drawstyle="steps-post", color=colour, gid=gid, **style)


def _edges(counts: Sequence[int]) -> list[float]:
    """Edges of the bins that hold the counts: of one width on a logarithmic axis, the same bins for all."""
    places = [math.floor(BINS_A_DECADE * math.log10(max(count, 1)) + 0.5) for count in counts]
    return [10 ** ((place - 0.5) / BINS_A_DECADE) for place in range(min(places), max(places) + 2)]
