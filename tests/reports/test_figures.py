"""Figures by their structure: what is drawn is what was measured."""

import math
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from catlipctl import reports
from catlipctl.errors import MachineError

pytest.importorskip("matplotlib")

Drawn = Callable[[Any, str], tuple[list[float], list[float]]]
Written = Callable[[Any], list[str]]


def test_loss_passes_over_what_is_no_loss(drawn: Drawn) -> None:
    rows: list[dict[str, Any]] = [
        {"step": 1, "samples": 8, "loss": 3.0, "lr": 0.1},
        {"event": "saved"},
        {"step": 2, "samples": 16, "loss": math.nan, "lr": 0.2},
        {"step": 3, "samples": 24, "loss": 1.5, "lr": 0.05},
    ]
    figure = reports.loss(rows, "a run")
    assert drawn(figure, "loss") == ([8, 24], [3.0, 1.5])
    assert drawn(figure, "lr") == ([8, 24], [0.1, 0.05])
    assert reports.loss([]).axes


SERIES: dict[str, list[reports.AccuracyRow]] = {
    "pre-trained": [
        {"images_per_class": "all", "acc1": 0.6},
        {"images_per_class": "5", "acc1": 0.4},
        {"images_per_class": "5", "acc1": 0.5},
        {"images_per_class": "20", "acc1": 0.55},
    ],
    "untrained": [{"images_per_class": "5", "acc1": 0.3}, {"images_per_class": "all", "acc1": 0.5}],
}


def test_probe_bars_are_means_over_seeds(written: Written) -> None:
    figure = reports.probe(SERIES, chance=0.1)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["5", "20", "all"]
    bars = sorted((round(bar.get_x() + bar.get_width() / 2), bar.get_height()) for bar in axes.patches)
    assert bars == [(0, 0.3), (0, pytest.approx(0.45)), (1, 0.55), (2, 0.5), (2, 0.6)]
    assert {"pre-trained", "untrained", "45.0%", "largest class"} <= set(written(figure))


def test_inits_are_lines_named_at_their_ends(drawn: Drawn, written: Written) -> None:
    figure = reports.inits(SERIES)
    assert drawn(figure, "inits-pre-trained") == ([0, 1, 2], [pytest.approx(0.45), 0.55, 0.6])
    assert drawn(figure, "inits-untrained") == ([0, 2], [0.3, 0.5])
    assert {"pre-trained", "untrained"} <= set(written(figure))


def test_step_stacks_its_phases(written: Written) -> None:
    phases = {"forward": 0.1, "loss": 0.001, "backward": 0.2, "optimiser": 0.01}
    figure = reports.step({"CatLIP": phases, "CLIP": {name: 2 * time for name, time in phases.items()}})
    bars = figure.axes[0].patches
    assert [bar.get_width() for bar in bars[:4]] == pytest.approx([100, 1, 200, 10])
    assert [bar.get_x() for bar in bars[:4]] == pytest.approx([0, 100, 101, 301])
    assert {"311 ms", "622 ms  2.00 x", *phases} <= set(written(figure))
    medians = reports.step(
        {"CatLIP": phases, "CLIP": phases}, {"CatLIP": 0.3, "CLIP": 0.65}, {"CLIP": 2.1}, "ViT-S-16"
    )
    assert {"300 ms", "650 ms  2.10 x", "ViT-S-16"} <= set(written(medians))


def test_gallery_says_what_is_said_and_the_truth_where_that_is_wrong(tmp_path: Path) -> None:
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        Image.new("RGB", (4, 4), colour).save(tmp_path / f"{name}.png")
    red, blue = (tmp_path / f"{name}.png" for name in ("red", "blue"))
    right, wrong = reports.Picture(red, "dog", "dog", 0.9), reports.Picture(blue, "cat", "dog", 0.505)
    figure = reports.gallery([right] * 8 + [wrong], "a run")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["a run", *["dog 90%"] * 8, "dog 50%\n(cat)"]
    shown = axes.get_images()
    assert [tuple(image.get_array()[0, 0]) for image in shown] == [(255, 0, 0)] * 8 + [(0, 0, 255)]
    boxes = [image.get_extent() for image in shown]
    assert boxes[0][:2] == boxes[8][:2]  # the ninth begins the second row
    (left, right_end), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert all(left <= a < b <= right_end and top <= d < c <= bottom for a, b, c, d in boxes)
    assert boxes[8][3] >= boxes[0][2]


def test_saved_as_png_and_svg_the_same_each_time(tmp_path: Path) -> None:
    png, svg = reports.save(reports.inits(SERIES), tmp_path / "plots" / "inits-v1.5")
    assert (png.name, svg.name) == ("inits-v1.5.png", "inits-v1.5.svg")
    head = png.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", head[16:20])[0] >= 1200
    again = reports.save(reports.inits(SERIES), tmp_path / "again")[1]
    assert again.read_bytes() == svg.read_bytes()
    assert list(tmp_path.glob("**/.*")) == []


def test_without_matplotlib_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MachineError, match="matplotlib") as missing:
        reports.step({"CatLIP": {"forward": 0.1}})
    assert missing.value.hint == "pip install 'catlipctl[plot]'"


def test_table_as_csv(tmp_path: Path) -> None:
    path = reports.save_table(tmp_path / "t.csv", [{"a": 1, "b": "x, y"}, {"a": 2, "b": "é"}])
    assert path.read_text(encoding="utf-8") == 'a,b\n1,"x, y"\n2,é\n'
