"""A sweep on the embedded data: its points, what is made once, and what a kill leaves."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from catlipctl import checkpoints, recipe
from catlipctl.cli.main import app
from catlipctl.errors import UsageError
from catlipctl.experiments.points import Axis, grid

TINY = (
    "model.image_size=32", "length.steps=3", "global_batch_size=8", "data.workers=0",
    "schedule.warmup_steps=1",
    "vocabulary.threshold=5", "sizes=null",
)  # fmt: skip
COMMAND = ["sweep", "demo", "optimiser.lr=0.001,0.002", "--probe", "emoji:transfer", "--plots", "none"]
SETTINGS = [word for change in TINY for word in ("--set", change)]


def test_the_grid_has_each_value_with_each_other_and_the_seeds() -> None:
    axes = [Axis.parse("optimiser.betas=[0.9, 0.95],[0.9,0.999]"), Axis.parse("optimiser.lr = 1e-3, 2e-3")]
    points = grid(axes, recipe.find("demo"), seeds=2)
    found = [
        (point.loaded.value.optimiser.betas, point.loaded.value.optimiser.lr, point.loaded.value.seed)
        for point in points
    ]
    seed = found[0][2]
    assert found == [
        (betas, lr, seed + extra)
        for betas in ((0.9, 0.95), (0.9, 0.999))
        for lr in (1e-3, 2e-3)
        for extra in (0, 1)
    ]
    assert len({point.name for point in points}) == len(points)
    assert all(Path(point.name).name == point.name for point in points)


@pytest.mark.parametrize("text", ["lr", "=1", "lr=", "lr=1,", "lr=1,1"])
def test_an_axis_that_is_none_is_told(text: str) -> None:
    with pytest.raises(UsageError):
        Axis.parse(text)


def call(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == code, done.output
    return done


def test_a_wrong_point_is_told_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "did you mean optimiser" in call("sweep", "demo", "optimizer.lr=1", code=2).stderr
    assert "optimiser.lr" in call("sweep", "demo", "optimiser.lr=0.001,-3", code=2).stderr
    assert "a sweep has one recipe" in call("sweep", "demo", code=2).stderr
    assert list(tmp_path.iterdir()) == []
    shown = json.loads(call(*COMMAND, *SETTINGS, "--dry-run", "--json").stdout)["result"]["points"]
    assert [row["images"] for row in shown] == [24, 24]


def test_a_sweep_that_is_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = [*COMMAND, *SETTINGS, "--out", "swept"]
    killed = subprocess.Popen(
        [sys.executable, "-m", "catlipctl", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    summary = Path("swept/sweep.json")
    for _ in range(3000):
        if summary.exists() or killed.poll() is not None:
            break
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    (first,) = [path for path in Path("swept").iterdir() if path.name.startswith("lr=0.001")]
    weights = next(first.glob("checkpoints/step-*/model.safetensors"))
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*.safetensors")}
    call(*command)
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*.safetensors")} == before
    document = json.loads(summary.read_text())
    assert [row["status"] for row in document["rows"]] == ["complete", "complete"]
    assert [row["changes"] for row in document["rows"]] == [
        {"optimiser.lr": "0.001"},
        {"optimiser.lr": "0.002"},
    ]
    for row in document["rows"]:
        probe = json.loads((Path(row["run"]) / "eval/lp-emoji-transfer/result.json").read_text())
        assert row["probes"][0]["acc1"] == probe["acc1"]
    by_hand = ["pretrain", "demo", *SETTINGS, "--set", "optimiser.lr=0.001", "--out", "by-hand"]
    call(*by_hand, "--plots", "none")
    ours, theirs = load_file(weights), load_file(checkpoints.latest(Path("by-hand")) / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    other = call("sweep", "demo", "seed=1,2", "--out", "swept", code=2)
    assert "holds something else than this sweep" in other.stderr


def test_a_point_that_fails_is_a_row_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [word for change in TINY[:-2] for word in ("--set", change)]
    done = call("sweep", "demo", "vocabulary.threshold=1000000,5", *settings, "--out", "swept", code=1)
    assert "failed" in done.stderr
    rows = json.loads(Path("swept/sweep.json").read_text())["rows"]
    assert [row["status"] for row in rows] == ["failed", "complete"]
    assert rows[0]["fault"]


def test_the_figure_has_a_dot_for_each_run(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from catlipctl import reports
    from catlipctl.experiments.sweep import Probed, SweepResult, SweptPoint

    rows = [
        SweptPoint(
            name=f"{value}{seed}",
            changes={"vocabulary.threshold": value},
            seed=seed,
            run="r",
            status="complete",
            probes=[Probed(data="pets", acc1=at + seed / 10, acc1_interval=(0, 1), zero_shot_acc1=None)],
        )
        for value, at in (("10", 0.5), ("100", 0.3))
        for seed in (0, 1)
    ]
    result = SweepResult(folder=str(tmp_path), keys=["vocabulary.threshold"], points=4, rows=rows)
    (axes,) = reports.sweep(result).axes
    (dots, line) = axes.lines
    assert list(zip(dots.get_xdata(), dots.get_ydata(), strict=True)) == [
        (0, 0.5),
        (0, 0.6),
        (1, 0.3),
        (1, 0.4),
    ]
    assert list(line.get_ydata()) == pytest.approx([0.55, 0.35])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["10", "100"]
