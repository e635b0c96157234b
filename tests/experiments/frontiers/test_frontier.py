"""A frontier on the embedded pairs: killed, gone on with another method, and nothing made twice."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from catlipctl.cli.main import app

TOWER = "{name: vit_tiny_patch16_224, image_size: 32, model_args: {embed_dim: 24, depth: 1, num_heads: 2}}"
TEXT = "{width: 8, heads: 1, layers: 1, context_length: 8}"
CHANGES = (f"model={TOWER}", "global_batch_size=8", "data.workers=0", "schedule.warmup_steps=100")
SETTINGS = [word for change in CHANGES for word in ("--set", change)]
CATLIP = "catlip=demo"
CLIP = f"clip=demo:objective=clip:clip={{embed_dim: 8, text: {TEXT}}}"
GRID = ("--lr", "1e-4,1e-2", "--weight-decay", "0.1", "--seeds", "1", "--rounds", "1")


def call(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of three classes that no label set knows: a hue each, and noise."""
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 8)):
        for channel, name in enumerate(("q1", "q2", "q3")):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 200, (32, 32, 3))
                pixels[..., channel] += 20
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")


def document(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "frontier.json").read_text())
    return found


def finished(folder: Path) -> list[str]:
    if not (folder / "frontier.json").exists():
        return []
    return [row["run"] for row in document(folder)["rows"] if row["state"] == "finished"]


def files_of(run: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_frontier_that_is_killed_goes_on_with_another_method_and_makes_nothing_twice(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "frontier"
    rest = ["--probe", "pets", *GRID, *SETTINGS, "--budgets", "0.1s,0.2s", "--out", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.Popen(
        [sys.executable, "-m", "catlipctl", "frontier", CATLIP, *rest],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 300
    while not finished(folder):
        assert killed.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    before = document(folder)
    done = [Path(run) for run in finished(folder)] + list((folder / "catlip" / "tuning").iterdir())
    untouched = {run: files_of(run) for run in done}

    plan = json.loads(call("frontier", CATLIP, CLIP, *rest, "--dry-run", "--json").stdout)["result"]
    assert [(row["tuning_runs"], row["runs"]) for row in plan["methods"]] == [(2, 2)] * 2
    assert plan["methods"][0]["finished"] >= 3
    assert plan["methods"][1]["seconds"] == pytest.approx(0.1 * 2 + 0.1 + 0.2)
    assert [one["key"] for one in plan["differing"] if not one["expected"]] == []

    result = json.loads(call("frontier", CATLIP, CLIP, *rest, "--json").stdout)["result"]
    assert {run: files_of(run) for run in done} == untouched
    # What was timed stays so: else the runs' lengths would be other ones.
    assert {"catlip": result["timings"]["catlip"]} == before["timings"]
    assert list(result["timings"]) == ["catlip", "clip"]
    assert [row["state"] for row in result["rows"]] == ["finished"] * 4
    for tuning in result["tunings"]:
        scores = {}
        for point in (folder / tuning["method"] / "tuning").iterdir():
            probe = json.loads((point / "eval" / "held-out-pets" / "result.json").read_text())
            # No test image has a say: a part of the training images tests.
            assert probe["data"]["train"] == probe["data"]["test"]
            assert probe["test_images"] < probe["train_images"] < 36
            assert probe["init"] == "random"
            lr = json.loads(
                (point / "checkpoints" / "latest").parent.parent.name.split("lr=")[1].split(",")[0]
            )
            scores[lr] = probe["acc1"]
        assert {point["lr"]: point["score"] for point in tuning["grid"]} == scores
        assert scores[tuning["chosen"][0]] == max(scores.values())
    chosen = {tuning["method"]: tuning["chosen"] for tuning in result["tunings"]}
    for row in result["rows"]:
        method, lr = row["values"]["method"], row["values"]["optimiser.lr"]
        assert lr == chosen[method][0]
        a_sample = result["timings"][method]["seconds_per_sample"]
        seconds = float(row["values"]["budget"].removesuffix("s"))
        assert row["samples"] == max(1, int(seconds / (a_sample * 8))) * 8
        assert row["steps"] == row["samples"] / 8
        assert row["timed_seconds"] == pytest.approx(row["samples"] * a_sample)
        assert row["flops"] > 0
        assert not (Path(row["run"]) / "eval" / "lp-pets" / "model.safetensors").exists()
    figures = {
        (row["values"]["method"], row["values"]["budget"]): row["probes"]["pets"]["figure"]
        for row in result["rows"]
    }
    for mean in result["means"]:
        assert mean["figure"] == figures[mean["method"], mean["budget"]]
        assert set(mean["costs"]) == {"seconds", "samples", "flops"}
    pairs = [(pair["method"], pair["other"], pair["budget"]) for pair in result["pairs"]]
    assert pairs == [("catlip", "clip", budget) for budget in ("0.1s", "0.2s")]
    assert all(pair["difference"]["interval"] is not None for pair in result["pairs"])
    page = (folder / "frontier.html").read_text()
    assert "Accuracy against cost: pets" in page
    assert "clip.embed_dim" in page

    # Another recipe may not go on with what lies there, and says so before anything runs.
    other = call("frontier", CATLIP, *rest, "--set", "data.augmentation.flip=0", code=2)
    assert "data.augmentation.flip" in other.stderr


def test_a_wrong_frontier_is_told_before_anything_runs(tmp_path: Path) -> None:
    there = sorted(tmp_path.iterdir())
    assert "needs a probe" in call("frontier", "demo", code=2).stderr
    assert "is no budget" in call("frontier", "demo", "--budgets", "soon", code=2).stderr
    wrong = call("frontier", "demo", "--probe", "pets", "--reach", "dogs=0.5", code=2)
    assert "no probe is called dogs" in wrong.stderr
    assert "not of the form" in call("frontier", "demo", "--reach", "pets", code=2).stderr
    call("frontier", "demo", "--probe", "nowhere", code=3)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    taken = call("frontier", "demo", "--probe", "pets", "--out", "taken", code=2)
    assert "something else" in taken.stderr
    (tmp_path / "taken" / "thesis.txt").unlink()
    (tmp_path / "taken").rmdir()
    assert sorted(tmp_path.iterdir()) == there
