"""Charts on a phone of 400 pixels: text is large enough, lies inside, and touches no other text."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from catlipctl import reports
from catlipctl.labels.targets import Label, LabelSet
from catlipctl.reports.logs import Logged
from catlipctl.reports.style import for_phones, without_titles
from catlipctl.vocabulary import Vocabulary
from catlipctl.vocabulary.overlap import Overlap, overlap

pytest.importorskip("matplotlib")

INSIDE_A_CARD = 345
"""Pixels that a page of 400 leaves for a chart, as Chromium lays it out."""
KEYS = ("n02084071", "n02121620", "n03619890", "n02958343")
SERIES: dict[str, list[reports.AccuracyRow]] = {
    name: [
        {"images_per_class": budget, "acc1": level + 0.1 * i}
        for i, budget in enumerate(("1", "5", "20", "all"))
    ]
    for name, level in (("pre-trained", 0.4), ("untrained", 0.2))
}


def vocabulary(size: int) -> Vocabulary:
    counts = (123_456, 9_999, 500, 2)[:size]
    return Vocabulary(KEYS[:size], counts, "corenet", "1", "made", 50, 1, "occurrences", 0)


def compared(size: int) -> Overlap:
    target = LabelSet("mine", tuple(Label(f"{key}{i}", (key,)) for key in KEYS for i in range(300)))
    return overlap(vocabulary(size), target)


SCORES = [
    reports.SizeScore(
        init=init, train_size=f"{size}%", train_images=50 * size, seeds=5, acc1=level + size / 300
    )
    for init, level in (("transfer", 0.4), ("random", 0.36))
    for size in (1, 5, 10, 25, 50, 100)
]
LOSSES = [Logged(step=i, samples=4096 * i, loss=9 / i, lr=0.00125 / i) for i in range(1, 300)]
PHASES = {
    name: {"forward": 1.1, "loss": 0.01, "backward": 2.2} for name in ("CatLIP", "CLIP", "plain open_clip")
}
SPEEDS = {"corenet": {"cold": 12_000.0, "warm": 200_000.0}, "reference": {"cold": 1_000.0, "warm": 1_250.0}}
LOADS = {"fast": {224: 1500.0, 128: 1800.0}, "webdataset": {224: 600.0, 128: 750.0}}
FIGURES: dict[str, Callable[[], Any]] = {
    "loss": lambda: reports.loss(LOSSES),
    "overlap": lambda: reports.overlap({"runs/one": compared(4)}),
    "overlaps": lambda: reports.overlap({"runs/one": compared(4), "runs/two": compared(2)}),
    "occurrences": lambda: reports.occurrences({"runs/one": compared(4), "runs/two": compared(2)}),
    "coverage": lambda: reports.coverage({"runs/one": compared(4), "runs/two": compared(2)}),
    "frequencies": lambda: reports.label_frequencies({"one": vocabulary(4), "two": vocabulary(2)}),
    "sizes": lambda: reports.sizes_by_threshold({"one": vocabulary(4), "two": vocabulary(2)}),
    "step": lambda: reports.step(PHASES, "A CLIP step takes 1.48 times as long as a CatLIP step " * 2),
    "labels": lambda: reports.labels(SPEEDS),
    "loader": lambda: reports.loader(LOADS, {"fast": {224: 2.51, 128: 2.39}}),
    "probe": lambda: reports.probe(SERIES, chance=0.117),
    "train sizes": lambda: reports.train_sizes(SCORES, zero_shot=0.3, chance=0.117),
    "inits": lambda: reports.inits(SERIES, chance=0.117),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_chart_can_be_read_on_a_phone(name: str) -> None:
    with for_phones():
        figure = FIGURES[name]()
    without_titles(figure)
    figure.draw_without_rendering()
    pixel = INSIDE_A_CARD / (72 * figure.get_figwidth())  # of a point
    hidden = beyond_limits(figure)
    texts = [
        text
        for text in figure.findobj(lambda artist: hasattr(artist, "get_fontsize"))
        if text.get_visible() and text.get_text() and text not in hidden
    ]
    assert len(texts) > 5
    assert min(text.get_fontsize() for text in texts) * pixel >= 11
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    width, height = figure.bbox.size
    for text, box in boxes:
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text
    touching = [(a, b) for (a, first), (b, second) in combinations(boxes, 2) if overlapping(first, second)]
    assert not touching


def beyond_limits(figure: Any) -> list[Any]:
    """Labels of ticks beyond an axis' limits: they are made, and not drawn."""
    found = []
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        slack = 1e-9 * (high - low)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not low - slack <= tick.get_loc() <= high + slack:
                found += [tick.label1, tick.label2]
    return found


def overlapping(a: Any, b: Any) -> bool:
    """By more than a pixel, which are the gaps around letters."""
    across = min(a.x1, b.x1) - max(a.x0, b.x0)
    down = min(a.y1, b.y1) - max(a.y0, b.y0)
    return across > 1 and down > 2


def test_a_gallery_has_half_as_many_columns(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    pictures = [reports.Picture(tmp_path / "a.png", "a class", "a class", 0.9)] * 8
    with for_phones():
        figure = reports.gallery(pictures)
    assert len({image.get_extent()[2] for image in figure.axes[0].get_images()}) == 2
    figure.draw_without_rendering()
    assert (
        min(text.get_fontsize() for text in figure.axes[0].texts)
        * INSIDE_A_CARD
        / (72 * figure.get_figwidth())
        >= 11
    )
