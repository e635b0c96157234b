"""`catlipctl report`."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from catlipctl.checkpoints.writing import write_manifest
from catlipctl.cli.main import app
from catlipctl.vocabulary import Vocabulary

pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs with a logged step and a checkpoint each; `new` is the younger."""
    monkeypatch.chdir(tmp_path)
    for age, name in ((100, "old"), (10, "new")):
        step = Path("runs") / name / "checkpoints" / "step-00000001"
        step.mkdir(parents=True)
        write_manifest(step)
        os.utime(step / "manifest.json", (time.time() - age,) * 2)
        row = {"step": 1, "samples": 8, "loss": 3.0, "lr": 0.1}
        (Path("runs") / name / "metrics.jsonl").write_text(json.dumps(row) + "\n")


def run(*arguments: str, code: int = 0) -> Any:
    found = CliRunner().invoke(app, ["report", *arguments])
    assert found.exit_code == code, found.output
    return found


def test_the_newest_run_is_reported_and_named() -> None:
    found = run()
    first, last = found.stderr.splitlines()
    assert first.startswith("run: runs/new (newest run, 1")
    assert last == "wrote runs/new/report.html"
    assert "Pre-training, Evaluations, How it was made" in " ".join(found.stdout.split())
    assert "catlipctl eval lp --checkpoint runs/new --data SOURCE" in Path("runs/new/report.html").read_text()
    document = json.loads(run("runs/old", "runs/new", "--out", "both.html", "--json").stdout)["result"]
    assert (document["path"], document["runs"]) == ("both.html", ["runs/old", "runs/new"])
    assert Path("both.html").read_text().count("<picture>") == 2


def test_no_page_is_overwritten_and_what_is_no_result_is_told() -> None:
    Path("mine.html").write_text("mine")
    assert "mine.html exists" in run("runs/new", "--out", "mine.html", code=2).stderr
    assert Path("mine.html").read_text() == "mine"
    Path("result.json").write_text("{}")
    assert run("result.json", code=3).stderr.startswith("error: result.json ")
    assert "no run and no result at nowhere" in run("nowhere", code=2).stderr
    Path("runs/new/recipe.yaml").write_text("3")
    assert "warning: runs/new/recipe.yaml holds no mapping" in run("runs/new").stderr


def test_the_overlap_that_it_asks_for_is_found_the_next_time() -> None:
    vocabulary = Vocabulary(
        ("n02084071", "n02121620"), (30, 20), "corenet", "1", "p", 60, 5, "occurrences", 0
    )
    vocabulary.save(Path("runs/new/vocabulary.json"))
    run("--out", "before.html")
    asked = "catlipctl vocab overlap --target imagenet runs/new"
    assert asked in Path("before.html").read_text()
    made = CliRunner().invoke(app, [*asked.replace("imagenet", "cifar10").split()[1:], "--plots", "none"])
    assert made.exit_code == 0, made.output
    run("--out", "after.html")
    assert asked not in Path("after.html").read_text()
    assert "Overlap with cifar10" in Path("after.html").read_text()


def test_a_page_is_made_without_torch() -> None:
    script = (
        "import sys\n"
        "from catlipctl.cli.main import app\n"
        "assert not app(['report', 'runs/new'], standalone_mode=False)\n"
        "assert not {'torch', 'timm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
