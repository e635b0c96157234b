"""Figures of what vocabularies cover of a label set."""

from collections.abc import Callable
from typing import Any

import pytest

from catlipctl import reports
from catlipctl.labels.targets import Label, LabelSet
from catlipctl.vocabulary import Vocabulary
from catlipctl.vocabulary.overlap import Overlap, overlap

pytest.importorskip("matplotlib")

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
    single = written(reports.overlap({"runs/a": one}))
    assert any("runs/a" in text for text in single)
    assert {str(step.classes) for step in one.steps} <= set(single)
