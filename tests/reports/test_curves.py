"""Curves of runs, read from their rows; and the figure of several."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catlipctl.reports import curves as draw
from catlipctl.reports.curves import read, thinned

Drawn = Callable[[Any, str], tuple[list[float], list[float]]]


def write(run: Path, evaluated: list[dict[str, Any]], rows: int = 4) -> Path:
    run.mkdir()
    logged = [
        {"step": step, "samples": 8 * step, "loss": 4.0, "lr": 0.1 * step, "images_per_second": 9.0}
        for step in range(1, rows + 1)
    ]
    for name, found in (("metrics.jsonl", logged), ("evaluations.jsonl", evaluated)):
        (run / name).write_text("".join(json.dumps(row) + "\n" for row in found))
    return run


def test_each_measure_lies_over_the_samples_seen(tmp_path: Path) -> None:
    measured = [{"step": 2, "samples": 16, "loss": 3.0, "mean_average_precision": 0.25, "weights": "raw"}]
    found = read(write(tmp_path / "a", measured))
    assert found == {
        "loss": [(8, 4.0), (16, 4.0), (24, 4.0), (32, 4.0)],
        "learning rate": [(8 * step, 0.1 * step) for step in range(1, 5)],
        "images/s": [(8, 9.0), (16, 9.0), (24, 9.0), (32, 9.0)],
        "validation loss": [(16, 3.0)],
        "validation mAP": [(16, 0.25)],
    }
    # A fine-tuning run of an earlier version tells the step alone; a damaged row, nothing.
    tuned = write(tmp_path / "b", [{"step": 3, "acc1": 0.5}, {"step": "x"}])
    assert read(tuned)["test accuracy"] == [(24, 0.5)]
    assert read(tmp_path / "nowhere") == {}


def test_a_thinned_curve_keeps_its_last_point() -> None:
    points = [(step, float(step)) for step in range(1, 1001)]
    assert thinned(points, 4) == [(250, 250.0), (500, 500.0), (750, 750.0), (1000, 1000.0)]
    assert thinned(points, 5000) == points
    assert len(thinned(points, 333)) == 333


def test_several_runs_are_drawn_together_in_one_colour_each_with_a_legend(
    tmp_path: Path, drawn: Drawn, written: Callable[[Any], list[str]]
) -> None:
    pytest.importorskip("matplotlib")
    shown = {
        "runs/a": read(write(tmp_path / "a", [{"step": 2, "samples": 16, "loss": 3.0}])),
        "runs/b": read(write(tmp_path / "b", [], rows=2)),
        "runs/empty": {},
    }
    figure = draw(shown)
    assert len(figure.axes) == 4
    assert drawn(figure, "loss a") == ([8, 16, 24, 32], [4.0] * 4)
    assert drawn(figure, "loss b") == ([8, 16], [4.0] * 2)
    assert drawn(figure, "validation loss a") == ([16], [3.0])
    assert drawn(figure, "loss empty") == ([], [])
    assert {"a", "b", "empty"} <= set(written(figure))
    lines = [line for axes in figure.axes for line in axes.get_lines()]
    by_run = {
        name: {line.get_color() for line in lines if line.get_label() == name} for name in ("a", "b", "empty")
    }
    assert [len(colours) for colours in by_run.values()] == [1, 1, 1]
    assert len(set.union(*by_run.values())) == 3


def test_a_run_with_nothing_yet_is_an_empty_figure() -> None:
    pytest.importorskip("matplotlib")
    assert len(draw({"runs/new": {}}).axes) == 1
