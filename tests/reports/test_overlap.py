"""Figures of what vocabularies cover of a label set."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from catlipctl import reports
from catlipctl.labels.targets import Label, LabelSet
from catlipctl.reports.style import INK, PALETTE
from catlipctl.vocabulary import Vocabulary
from catlipctl.vocabulary.overlap import Overlap, overlap

pytest.importorskip("matplotlib")
from matplotlib.backends.backend_agg import FigureCanvasAgg

Drawn = Callable[[Any, str], tuple[list[float], list[float]]]
Written = Callable[[Any], list[str]]
KEYS = ("n02084071", "n02121620", "n03619890", "n02958343")


def compared(size: int) -> Overlap:
    counts = (100, 10, 5, 2)[:size]
    made = Vocabulary(KEYS[:size], counts, "corenet", "1", "made", 50, 1, "occurrences", 0)
    return overlap(made, LabelSet("mine", tuple(Label(key, (key,)) for key in KEYS)))


def test_overlap_draws_cumulative_steps(drawn: Drawn, written: Written) -> None:
    one, all_four = compared(1), compared(4)
    figure = reports.overlap({"one": one, "four": all_four})
    for name, result in (("one", one), ("four", all_four)):
        x, y = drawn(figure, f"overlap-{name}")
        assert x == list(range(11))
        assert y[:-1] == [step.classes for step in result.steps]
    assert drawn(figure, "overlap-four")[1][0] == 4
    assert {"one", "four", "all 4 classes"} <= set(written(figure))
    (line,) = [line for line in figure.axes[0].get_lines() if line.get_gid() == "overlap-one"]
    assert line.get_drawstyle() == "steps-post"
    assert any("runs/a" in text for text in written(reports.overlap({"runs/a": one})))


@pytest.mark.parametrize("sizes", [(1,), (1, 4), (4, 2, 4)])
def test_every_number_of_every_line_stands_below_the_axis(sizes: tuple[int, ...]) -> None:
    overlaps = {f"of {size}, {i}": compared(size) for i, size in enumerate(sizes)}
    figure = reports.overlap(overlaps)
    texts = [text for text in figure.axes[0].texts if text.get_gid() == "number"]
    ceiling = compared(1).ceiling
    assert ceiling is not None
    told = [step.classes for result in overlaps.values() for step in result.steps]
    told += [step.classes for step in ceiling]
    assert [int(text.get_text()) for text in texts] == told
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_equal_lines_are_all_seen(drawn: Drawn) -> None:
    """Two vocabularies that are equal to one another and to what can be reached: each pixel is of one line,
    and each line has pixels.
    """
    four = compared(4)
    assert four.ceiling is not None
    assert [step.classes for step in four.steps] == [step.classes for step in four.ceiling]
    figure = reports.overlap({"a": four, "b": four})
    assert drawn(figure, "overlap-a") == drawn(figure, "overlap-b") == drawn(figure, "ceiling-corenet")
    figure.set_dpi(200)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = np.asarray(canvas.buffer_rgba())[..., :3]
    left, top = figure.axes[0].transData.transform((2, 4))
    right = figure.axes[0].transData.transform((9, 4))[0]
    row = image.shape[0] - round(top)
    band = image[row - 12 : row + 12, round(left) : round(right)].reshape(-1, 3)
    for colour in (PALETTE[0], PALETTE[1], INK):
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(band.astype(int) - wanted).max(1) < 12).sum() > 50, colour


def test_the_ceiling_is_a_second_line_of_each_extractor(drawn: Drawn, written: Written) -> None:
    one = compared(1)
    assert one.ceiling is not None
    figure = reports.overlap({"one": one})
    assert drawn(figure, "ceiling-corenet")[1][:-1] == [step.classes for step in one.ceiling]
    assert "what corenet can reach, dashed" in written(figure)
    both = {"one": one, "two": one.model_copy(update={"extractor": "nouns"})}
    assert {"what corenet can reach, dashed", "what nouns can reach, dotted"} <= set(
        written(reports.overlap(both))
    )
    unknown = reports.overlap({"one": one.model_copy(update={"ceiling": None})})
    assert not any("can reach" in text for text in written(unknown))


def test_occurrences_are_binned_by_their_logarithm(written: Written) -> None:
    figure = reports.occurrences({"four": compared(4), "two": compared(2)})
    bins = {patch.get_gid(): patch.get_data() for axes in figure.axes for patch in axes.patches}
    for name, counts in (("four", [100, 10, 5, 2]), ("two", [100, 10])):
        values, edges, _ = bins[f"occurrences-{name}"]
        held = [sum(low <= count < high for count in counts) for low, high in pairwise(edges)]
        assert list(values) == held
        assert sum(held) == len(counts)
        ratios = [high / low for low, high in pairwise(edges)]
        assert ratios == pytest.approx([ratios[0]] * len(ratios))
    assert "four: 4 of 4 synsets, median 5" in written(figure)
    nothing = compared(1).model_copy(update={"occurrences": {}})
    assert "0 of 4 synsets" in written(reports.occurrences({"none": nothing}))


def test_coverage_draws_recall_and_precision(drawn: Drawn, written: Written) -> None:
    result = compared(4)
    two = written(reports.coverage({"four": result, "one": compared(1)}))
    assert {"four: 100.0% above 0", "one: 25.0% above 0", "one: 100.0% above 0"} <= set(two)
    figure = reports.coverage({"four": result})
    for measure in ("recall", "precision"):
        x, y = drawn(figure, f"{measure}-four")
        assert x == [row.threshold for row in result.coverage]
        assert y == [getattr(row, measure) for row in result.coverage]


@pytest.mark.parametrize("draw", [reports.overlap, reports.occurrences, reports.coverage])
def test_every_figure_says_which_senses(draw: Callable[..., Any], written: Written) -> None:
    own, extracted = compared(2), compared(2).model_copy(update={"senses": "extracted"})
    for overlaps in ({"a": own}, {"a": own, "b": own}):
        assert any("the label set's own senses" in text for text in written(draw(overlaps)))
    assert any("senses extracted from label names" in text for text in written(draw({"a": extracted})))
