"""`catlipctl compare`."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from catlipctl.checkpoints.writing import write_manifest
from catlipctl.cli.main import app

from ..reports.conftest import step_benchmark

pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs with three logged steps and a probe each; `b` has recognised one image more."""
    monkeypatch.chdir(tmp_path)
    for name, hits in (("a", 2), ("b", 3)):
        run = Path("runs") / name
        step = run / "checkpoints" / "step-00000003"
        step.mkdir(parents=True)
        write_manifest(step)
        rows = [{"step": i, "samples": 8 * i, "loss": 3.0 / i, "lr": 0.1} for i in (1, 2, 3)]
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        evaluation = run / "eval" / "photos"
        evaluation.mkdir(parents=True)
        document = {
            "protocol": "linear probe",
            "inputs": {"checkpoint": f"runs/{name}/checkpoints/step-00000003"},
            "acc1": hits / 4,
            "acc5": 1.0,
            "mean_per_class_recall": hits / 4,
            "majority_share": 0.25,
            "classes": 4,
            "train_images": 1000,
            "test_images": 4,
        }
        (evaluation / "result.json").write_text(json.dumps(document))
        answers = [f"{i}.jpg,dog,{'dog' if i < hits else 'cat'},0.5\n" for i in range(4)]
        (evaluation / "predictions.csv").write_text("sample,truth,predicted,probability\n" + "".join(answers))


def run(*arguments: str, code: int = 0) -> Any:
    found = CliRunner().invoke(app, ["compare", *arguments])
    assert found.exit_code == code, found.output
    return found


def test_runs_are_compared_by_their_evaluations_and_losses() -> None:
    found = run("runs/a", "runs/b", "--out", "compared")
    text = " ".join(found.stdout.split())
    assert "50.0%" in text
    assert "75.0%" in text
    assert "+25.0 points" in text
    assert "no verdict" in text
    assert "largest class" in text
    assert sorted(path.name for path in Path("compared").iterdir()) == [
        "comparison.json",
        "comparison.png",
        "losses.png",
    ]
    document = json.loads(run("runs/a", "runs/b", "--json", "--baseline", "b").stdout)["result"]
    assert document["models"] == ["b", "a"]
    assert document["columns"][0]["cells"]["a"]["difference"]["figure"] == -0.25
    again = run("runs/a", "runs/b", "--out", "compared", code=2)
    assert "comparison.json exists" in again.stderr


def test_what_cannot_be_compared_is_told() -> None:
    assert "no model is called c" in run("runs/a", "--baseline", "c", code=2).stderr
    Path("runs/a/eval/photos/result.json").unlink()
    assert "no evaluation lies under these runs" in run("runs/a").stdout
    assert "no run and no result at nowhere" in run("nowhere", code=2).stderr


def test_two_benchmarks_are_compared_for_regressions(tmp_path: Path) -> None:
    for name, slower in (("a", 1), ("b", 2)):
        parts = {"catlip": {"image tower": 0.1 * slower}}
        step_benchmark(parts, {"catlip": [0.1 * slower] * 4}).write(tmp_path / f"{name}.json")
    found = run("a.json", "b.json", "--out", "compared", "--json")
    (step, *parts) = json.loads(found.stdout)["result"]["changes"]
    assert (step["part"], step["ratio"], step["verdict"]) == ("step", 2, "slower")
    assert [part["part"] for part in parts] == ["image tower"]
    assert {path.name for path in Path("compared").iterdir()} == {"comparison.json", "comparison.png"}
    assert "slower" in run("a.json", "b.json").stdout
    assert "evaluations apart" in run("a.json", "runs/a/eval/photos/result.json", code=2).stderr
