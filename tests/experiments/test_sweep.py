"""A sweep on the embedded data: its points, what is made once, and what a kill leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from catlipctl import checkpoints, recipe, reports
from catlipctl.cli.main import app
from catlipctl.cli.output import Output
from catlipctl.errors import UsageError
from catlipctl.experiments.points import Axis, grid
from catlipctl.experiments.sweep import Sweep
from catlipctl.signals import Signals

TINY = (
    "model={name: vit_tiny_patch16_224, image_size: 32, model_args: {embed_dim: 24, depth: 1, num_heads: 2}}",
    *("length.steps=3", "global_batch_size=8", "data.workers=0", "schedule.warmup_steps=1"),
)
SETTINGS = [word for change in TINY for word in ("--set", change)]
COMMAND = ["sweep", "demo", "vocabulary.threshold=2,5", "--probe", "emoji:transfer", "--plots", "none"]


def call(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)


def test_the_grid_has_each_value_with_each_other_and_the_seeds() -> None:
    axes = [Axis.parse("optimiser.betas=[0.9, 0.95],[0.9,0.999]"), Axis.parse("optimiser.lr = 1e-3, 2e-3")]
    points = grid(recipe.find("demo"), axes, seeds=2)
    found = [(point.recipe.optimiser.betas, point.recipe.optimiser.lr, point.recipe.seed) for point in points]
    seed = recipe.load(type(points[0].recipe), recipe.find("demo")).value.seed
    assert found == [
        (betas, lr, seed + extra)
        for betas in ((0.9, 0.95), (0.9, 0.999))
        for lr in (1e-3, 2e-3)
        for extra in (0, 1)
    ]
    assert points[0].values == {"optimiser.betas": [0.9, 0.95], "optimiser.lr": 0.001}
    names = [point.name for point in points]
    assert len(set(names)) == len(names)
    assert all(Path(name).name == name for name in names)
    # However a number is written, and whatever else is swept beside it, a point's folder is the same.
    (again,) = grid(
        recipe.find("demo"), [Axis.parse("optimiser.betas=[.9,.95]"), Axis.parse("optimiser.lr=0.001")]
    )
    assert again.name == names[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lr", "not of the form"),
        ("=1", "not of the form"),
        ("optimiser.lr=", "not of the form"),
        ("optimiser.lr=[1", "optimiser.lr"),
        ("optimiser.lr=1e-3,0.001", "two points are the same"),
        ("optimiser.lr=0.001,-3", "optimiser.lr"),
        ("optimiser.lrr=1", "did you mean optimiser.lr"),
        ("vocab.threshold=10,50", "did you mean vocabulary"),
    ],
)
def test_an_axis_that_is_none_is_told(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says.replace(".", r"\.")):
        grid(recipe.find("demo"), [Axis.parse(text)])


def test_a_wrong_sweep_is_told_before_anything_runs(tmp_path: Path) -> None:
    probe = ("--probe", "emoji:transfer")
    assert "did you mean optimiser.lr" in call("sweep", "demo", "optimiser.rl=1,2", *probe, code=2).stderr
    assert "a sweep has one recipe" in call("sweep", "demo", code=2).stderr
    assert "is swept, and --seeds" in call("sweep", "demo", "seed=1,2", "--seeds", "2", code=2).stderr
    call("sweep", "demo", "optimiser.lr=1e-3", "--probe", "nowhere", code=3)
    assert list(tmp_path.iterdir()) == []
    shown = json.loads(call(*COMMAND, *SETTINGS, "--dry-run", "--json").stdout)["result"]
    assert [(row["steps"], row["images"], row["state"]) for row in shown["points"]] == [
        (3, 24, "waiting")
    ] * 2
    assert shown["seconds"] == pytest.approx(sum(row["seconds"] for row in shown["points"]))
    assert list(tmp_path.iterdir()) == []


def files_of(run: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "sweep.json").read_text())["rows"]
    return found


@pytest.mark.slow
def test_a_sweep_that_is_killed_and_stopped_goes_on_and_makes_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, swept = [*COMMAND, *SETTINGS], tmp_path / "runs" / "sweep-demo"
    first, second = (swept / f"vocabulary.threshold={value},seed=0" for value in (2, 5))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.Popen(
        [sys.executable, "-m", "catlipctl", *command], env=environment, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 300
    while not (swept / "sweep.json").exists() or rows(swept)[0]["state"] != "finished":
        assert killed.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    before = files_of(first)

    # A real signal, as the second point begins.
    note = Output.note

    def noting(self: Output, message: str) -> None:
        note(self, message)
        if message.startswith("point 2 of 2"):
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched, Signals():
        patched.setattr(Output, "note", noting)
        stopped = call(*command, code=75)
    assert "hint: go on: " in stopped.stderr
    assert rows(swept)[1]["state"] != "finished"

    document = json.loads(call(*command, "--json").stdout)["result"]
    assert [row["state"] for row in document["rows"]] == ["finished", "finished"]
    assert document["rows"] == rows(swept)
    assert files_of(first) == before
    for row in rows(swept):
        probe = json.loads(Path(row["probes"]["emoji-transfer"]["result"]).read_text())
        told = row["probes"]["emoji-transfer"]
        assert (told["figure"], told["interval"]) == (probe["acc1"], probe["acc1_interval"])
        assert told["zero_shot"] == probe["zero_shot_acc1"]
        last = json.loads(Path(row["run"], "metrics.jsonl").read_text().splitlines()[-1])
        assert (row["steps"], row["final_loss"], row["seconds"]) == (3, last["loss"], last["seconds"])
        classes = json.loads(Path(row["run"], "vocabulary.json").read_text())
        assert classes["threshold"] == row["values"]["vocabulary.threshold"]
    # The captions were counted once for both points, and the next run takes the same counts.
    call(
        "pretrain",
        "demo",
        *SETTINGS,
        "--set",
        "vocabulary.threshold=5",
        "--out",
        "by-hand",
        "--plots",
        "none",
    )
    assert (tmp_path / "by-hand" / "vocabulary.json").read_bytes() == (
        second / "vocabulary.json"
    ).read_bytes()
    ours, theirs = (
        load_file(checkpoints.resolve(run) / "model.safetensors") for run in (second, tmp_path / "by-hand")
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    # What is finished is not touched again; another recipe or other keys are refused before anything runs.
    both = files_of(first) | files_of(second)
    call(*command)
    other = call(*command, "--set", "length.steps=4", code=2)
    assert "length.steps: 3" in other.stderr
    assert "holds something else" in call("sweep", "demo", "optimiser.lr=0.1", *SETTINGS, code=2).stderr
    assert files_of(first) | files_of(second) == both


def test_a_point_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    words = ["sweep", "demo", "vocabulary.threshold=1000000,5", *SETTINGS, "--out", "swept"]
    done = call(*words, "--json", code=1)
    document = json.loads(done.stdout)
    assert document["status"] == "error"
    assert document["error"]["message"].startswith("1 of 2 points failed: vocabulary.threshold=1000000")
    assert "error: 1 of 2 points failed" in done.stderr
    assert [row["state"] for row in document["result"]["rows"]] == ["failed", "finished"]
    assert "labels occur more than 1,000,000 times" in rows(tmp_path / "swept")[0]["error"]


@pytest.mark.slow
def test_runs_and_probes_are_those_of_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is started in two; a point that fails in them is told, and what is done is not done again."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    for number in range(8):
        path = tmp_path / "pets" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (30 * number, 90, 120)).save(path)

    def swept(values: str, *words: str, code: int = 0) -> Any:
        command = ["sweep", "demo", f"vocabulary.threshold={values}", *SETTINGS, "--out", "swept", *words]
        monkeypatch.setattr(sys, "argv", ["catlipctl", *command, "--processes", "2", "--json"])
        return json.loads(call(*sys.argv[1:], code=code).stdout)["result"]["rows"]

    failed, finished = swept("1000000,5", code=1)
    assert (failed["state"], finished["state"], finished["steps"]) == ("failed", "finished", 3)
    assert "labels occur more than 1,000,000 times" in failed["error"]
    assert "(exit 3; " in failed["error"]
    run = Path(finished["run"])
    (start,) = [json.loads(line) for line in (run / "starts.jsonl").read_text().splitlines()]
    assert start["processes"] == 2
    before = files_of(run)

    (row,) = swept("5", "--probe", "pets")
    assert row["state"] == "finished"
    result = json.loads((run / "eval" / "lp-pets" / "result.json").read_text())
    assert (row["probes"]["pets"]["figure"], result["test_images"]) == (result["acc1"], 2)
    assert before.items() <= files_of(run).items()


def test_the_figure_has_a_point_for_each_run(
    drawn_points: Callable[[Any, int], list[tuple[float, float]]],
) -> None:
    found = [
        {
            "name": f"{value}-{seed}",
            "values": {"vocabulary.threshold": value},
            "seed": seed,
            "run": "r",
            "state": "finished",
            "probes": {
                "pets": {
                    "measure": "top-1",
                    "figure": at + seed / 10,
                    "interval": (at - 0.1, at + 0.1),
                    "chance": 0.1,
                    "zero_shot": 0.2 if value == 10 else None,
                    "zero_shot_interval": None,
                    "result": "result.json",
                }
            },
        }
        for value, at in ((10, 0.5), (100, 0.3))
        for seed in (0, 1)
    ]
    result = Sweep.model_validate({"out": "swept", "keys": ["vocabulary.threshold"], "rows": found})
    figure = reports.sweep(result.series(), "vocabulary.threshold")
    probes, zero_shot = figure.axes
    assert (probes.get_ylabel(), zero_shot.get_ylabel()) == ("pets\nprobe, top-1", "pets\nzero-shot")
    assert probes.get_xscale() == "log"
    assert [text.get_text() for text in probes.get_xticklabels()] == ["10", "100"]
    assert drawn_points(figure, 0) == [(10, 0.5), (10, 0.6), (100, 0.3), (100, 0.4)]
    assert drawn_points(figure, 1) == [(10, 0.2), (10, 0.2)]
    (line,) = [line for line in probes.get_lines() if line.get_linestyle() == "-"]
    assert list(line.get_ydata()) == pytest.approx([0.55, 0.35])


@pytest.fixture
def drawn_points() -> Callable[[Any, int], list[tuple[float, float]]]:
    """The dots of a panel, in ascending order."""
    pytest.importorskip("matplotlib")

    def points(figure: Any, panel: int) -> list[tuple[float, float]]:
        dots = [line for line in figure.axes[panel].get_lines() if line.get_marker() == "o"]
        return sorted(pair for line in dots for pair in zip(line.get_xdata(), line.get_ydata(), strict=True))

    return points
