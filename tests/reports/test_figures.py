"""Figures by their structure: what is drawn is what was measured."""

import json
import math
import random
import statistics
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from catlipctl import reports
from catlipctl.errors import MachineError
from catlipctl.reports.findings import RunRecipe
from catlipctl.reports.logs import Logged, logged
from catlipctl.settings.training import ScheduleSettings
from catlipctl.training.optimiser import learning_rate

from .conftest import step_benchmark

pytest.importorskip("matplotlib")

Drawn = Callable[[Any, str], tuple[list[float], list[float]]]
Written = Callable[[Any], list[str]]


def test_loss_draws_what_was_logged(drawn: Drawn) -> None:
    rows = [Logged(step=1, samples=8, loss=3.0, lr=0.1), Logged(step=3, samples=24, loss=1.5, lr=0.05)]
    figure = reports.loss(rows, subtitle="a run")
    assert drawn(figure, "logged") == ([8, 24], [3.0, 1.5])
    assert drawn(figure, "lr") == ([8, 24], [0.1, 0.05])
    assert reports.loss([]).axes
    assert len(reports.loss([Logged(step=1, samples=8, loss=3.0)]).axes) == 1  # without rates, no panel


def test_what_is_no_logged_step_is_passed_over(tmp_path: Path) -> None:
    rows: list[Any] = [
        {"step": 1, "samples": 8, "loss": 3.0, "lr": 0.1},
        {"event": "saved"},
        {"step": 2, "samples": 16, "loss": math.nan, "lr": 0.2},
        [3],
        {"step": 3, "samples": 24, "loss": 1.5, "lr": 0.05, "later": "x"},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [row.loss for row in logged(tmp_path / "metrics.jsonl")] == [3.0, 1.5]


def noisy(steps: int = 400, every: int = 1) -> list[Logged]:
    """A loss that falls from 10 to 2 under noise of one, and CatLIP's schedule with 50 steps of warm-up."""
    draw = random.Random(0)
    settings = ScheduleSettings(warmup_steps=50)
    return [
        Logged(
            step=step + 1,
            samples=8 * (step + 1),
            loss=2 + 8 * math.exp(-step / 40) + draw.gauss(0, 1),
            lr=learning_rate(step, steps, 0.00125, settings),
        )
        for step in range(0, steps, every)
    ]


def test_the_loss_that_is_told_is_that_of_the_curve_without_noise(drawn: Drawn) -> None:
    rows = noisy()
    figure = reports.loss(rows)
    samples, losses = drawn(figure, "loss")
    assert samples == [row.samples for row in rows]
    # Twenty values of noise 1 have a mean that is 2 +- 0.22; the raw curve is off by one.
    assert losses[-1] == pytest.approx(statistics.fmean(row.loss for row in rows[-20:]))
    ours, raw = (
        [abs(y - 2 - 8 * math.exp(-i / 40)) for i, y in enumerate(found)]
        for found in (losses, drawn(figure, "logged")[1])
    )
    assert statistics.fmean(ours) < statistics.fmean(raw) / 3
    (last,) = [text for text in figure.axes[0].texts if text.get_gid() == "last"]
    assert last.get_text() == f"{losses[-1]:.4g}"
    figure.draw_without_rendering()
    curve = figure.axes[0].transData.transform(list(zip(samples, drawn(figure, "logged")[1], strict=True)))
    box = last.get_window_extent()
    assert not any(box.contains(x, y) for x, y in curve)
    (pale,) = [line for line in figure.axes[0].get_lines() if line.get_gid() == "logged"]
    assert pale.get_alpha() <= 0.4


@pytest.mark.parametrize("every", [1, 20])
def test_the_learning_rate_has_an_axis_and_its_true_peak(every: int, drawn: Drawn, written: Written) -> None:
    recipe = RunRecipe.model_validate({"optimiser": {"lr": 0.00125}, "schedule": {"warmup_steps": 50}})
    rows = noisy(every=every)
    assert every == 1 or max(row.lr or 0 for row in rows) < 0.00125  # the peak is not among the logged rows
    figure = reports.loss(rows, recipe)
    assert "peak 0.00125" in written(figure)
    samples, rates = drawn(figure, "lr")
    assert (samples[rates.index(max(rates))], max(rates)) == (8 * 51, 0.00125)
    _, below = figure.axes
    assert below.axison
    assert [text.get_text() for text in below.get_yticklabels()] == ["0", "0.00125"]


def test_a_run_that_ends_in_its_warm_up_did_not_reach_the_peak(written: Written) -> None:
    recipe = RunRecipe.model_validate({"optimiser": {"lr": 0.00125}, "schedule": {"warmup_steps": 1000}})
    rows = [row.model_copy(update={"lr": row.step / 1e6}) for row in noisy()]
    assert "peak 0.0004" in written(reports.loss(rows, recipe))


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


def test_step_stacks_its_parts(written: Written) -> None:
    parts = {"image tower": 0.1, "text tower": 0.0, "head and loss": 0.2, "optimiser": 0.01}
    figure = reports.step({"catlip": parts, "clip": {name: 2 * time for name, time in parts.items()}})
    bars = figure.axes[0].patches
    assert [bar.get_width() for bar in bars[:4]] == pytest.approx([100, 0, 200, 10])
    assert [bar.get_x() for bar in bars[:4]] == pytest.approx([0, 100, 100, 300])
    assert {"310 ms", "620 ms", *parts} <= set(written(figure))


def test_a_bar_of_the_step_has_its_own_number_and_the_ratio_is_said_apart(written: Written) -> None:
    """Medians of parts that do not sum to the step's, as measured: bars 1.54 to 1, pairs 1.48 to 1."""
    parts = {
        "catlip": {"image tower": 0.4, "optimiser": 0.6},
        "clip": {"image tower": 0.64, "optimiser": 0.9},
    }
    measured = step_benchmark(parts, {"catlip": [1.0, 1.0, 1.02], "clip": [1.47, 1.48, 1.53]})
    figure = reports.step(*measured.bars(), "ViT-S-16")
    axes = figure.axes[0]
    ends: dict[float, float] = {}
    for bar in axes.patches:
        ends[bar.get_y()] = max(ends.get(bar.get_y(), 0), bar.get_x() + bar.get_width())
    shown = [f"{end:,.0f} ms" for end in ends.values()]
    assert shown == ["1,000 ms", "1,540 ms"]
    texts = written(figure)
    assert set(shown) <= set(texts)
    assert not any("1.48" in text for text in texts if "ms" in text)
    (note,) = [" ".join(text.split()) for text in texts if "1.48" in text]
    assert "Steps over a catlip step: clip 1.48 (1.47 to 1.50)" in note
    assert "over rounds" in note


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
