"""Figures of vocabularies."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from catlipctl import reports
from catlipctl.reports.style import short_names
from catlipctl.vocabulary import Vocabulary

pytest.importorskip("matplotlib")

Drawn = Callable[[Any, str], tuple[list[float], list[float]]]
Written = Callable[[Any], list[str]]
KEYS = ("n02084071", "n02121620", "n03619890", "n02958343")


def vocabulary(size: int, threshold: int = 0, max_size: int | None = None) -> Vocabulary:
    counts = (100, 10, 5, 2)[:size]
    return Vocabulary(
        KEYS[:size], counts, "corenet", "1", "made", 50, 1, "occurrences", threshold, max_size=max_size
    )


def test_frequencies_by_rank(drawn: Drawn, written: Written) -> None:
    figure = reports.label_frequencies({"mine": vocabulary(4)})
    assert drawn(figure, "frequencies-mine") == ([1, 2, 3, 4], [100, 10, 5, 2])
    assert figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"
    assert {"dog", "kitchen"} <= set(written(figure))
    two = written(reports.label_frequencies({"a": vocabulary(4), "b": vocabulary(3)}))
    assert {"a: 4, counted 2 times or more", "b: 3, counted 5 times or more"} <= set(two)


def test_sizes_by_threshold_start_where_the_vocabulary_can_speak(drawn: Drawn, written: Written) -> None:
    pruned = {"runs/all/v.json": vocabulary(4, 0), "runs/three/v.json": vocabulary(3, 0, max_size=3)}
    figure = reports.sizes_by_threshold(pruned)
    for name, made in pruned.items():
        x, y = drawn(figure, f"sizes-{name}")
        assert y == [made.size_at(int(threshold)) for threshold in x]
        assert x[0] == made.least_threshold
        assert (x[-1], y[-1]) == (99, 1)
    # Three were kept, and the fourth may have counted 5 as well: above 5 two are certain.
    assert drawn(figure, "sizes-runs/three/v.json")[0][0] == 5
    assert {"all: 4 above 0", "three: 2 above 5"} <= set(written(figure))
    assert set(written(reports.sizes_by_threshold({"mine": vocabulary(4)}))) >= {"4", "1"}


def test_sub_words_are_called_so(written: Written) -> None:
    words = replace(vocabulary(2), extractor="subword", keys=("a</w>", "dog</w>"))
    assert "mine: 2 sub-words in 50 captions" in written(reports.label_frequencies({"mine": words}))
    both = written(reports.sizes_by_threshold({"mine": words, "synsets": vocabulary(2)}))
    assert "The higher the threshold, the fewer labels" in both


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["runs/a/vocabulary.json", "runs/b/vocabulary.json"], ["a", "b"]),
        (["a.json", "b.json"], ["a.json", "b.json"]),
        (["x/vocabulary.json", "x/y/vocabulary.json"], ["vocabulary.json", "y"]),
        (["runs/a/vocabulary.json"], ["runs/a"]),
        (["/" + "x" * 80 + "/v.json"], ["…" + "x" * 26 + "/v.json"]),
        (["a" + "x" * 40, "b" + "x" * 40], ["a" + "x" * 40, "b" + "x" * 40]),
        (["same", "same"], ["same"]),
        (["runs/a/vocabulary.json", "mine.json"], ["runs/a", "mine.json"]),
    ],
)
def test_names_keep_what_tells_them_apart(names: list[str], short: list[str]) -> None:
    assert list(short_names(names).values()) == short
