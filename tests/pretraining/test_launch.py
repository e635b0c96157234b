"""Whole runs as a person starts them: real processes, really signalled."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from catlipctl.pretraining import PretrainRecipe, pretrain
from catlipctl.training.directory import RunDirectory
from catlipctl.training.report import read_metrics


@pytest.fixture
def file(document: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(run / "metrics.jsonl")]


def start(*arguments: object, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "catlipctl.cli.main", "pretrain", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def wait_for_steps(run: Path, steps: int, process: "subprocess.Popen[str]") -> None:
    while len(losses(run)) < steps and process.poll() is None:
        time.sleep(0.01)


@pytest.mark.slow
def test_stopped_by_signals_and_resumed_it_has_the_losses_of_one_run(
    document: dict[str, Any], file: Path, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    document["length"] = {"steps": 200}
    pretrain(PretrainRecipe.model_validate(document), out=whole)
    common = (file, "--out", parts, "--resume", "--json", "--set", "length.steps=200")
    for number, expected, steps in ((signal.SIGINT, 130, 50), (signal.SIGTERM, 75, 100)):
        run = start(*common)
        wait_for_steps(parts, steps, run)
        run.send_signal(number)
        code, out, err = finish(run)
        assert code == expected, err
        assert json.loads(out)["error"]["exit_code"] == expected
        assert "hint: run the same command with --resume" in err
        assert steps <= len(losses(parts)) < 200
        assert json.loads((parts / "exit.json").read_text())["exit_code"] == expected
    code, out, err = finish(start(*common))
    assert code == 0, err
    assert json.loads(out)["result"]["steps"] == 200
    assert losses(parts) == losses(whole)


@pytest.mark.slow
def test_two_processes_stopped_and_resumed_have_the_losses_of_one(
    document: dict[str, Any], file: Path, tmp_path: Path
) -> None:
    # 11 images on 2 processes in pieces of 4: shares of 5 and 6.
    one, two = tmp_path / "one", tmp_path / "two"
    document |= {"global_batch_size": 11, "device_batch_size": 4, "length": {"steps": 60}}
    pretrain(PretrainRecipe.model_validate(document), out=one)
    file.write_text(yaml.safe_dump(document))
    common = (file, "--processes", 2, "--out", two, "--resume", "--json")
    run = start(*common)
    wait_for_steps(two, 10, run)
    run.send_signal(signal.SIGUSR1)
    code, out, err = finish(run)
    assert code == 75, err
    assert json.loads(out)["status"] == "error"
    code, out, err = finish(start(*common))
    assert code == 0, err
    assert json.loads(out)["status"] == "ok"
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    assert [row["processes"] for row in read_metrics(two / "starts.jsonl")] == [2, 2]


@pytest.mark.slow
def test_all_processes_resume_the_run_that_the_first_has_chosen(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text(yaml.safe_dump(document | {"length": {"steps": 100_000}}))
    run = start("my.yaml", "--processes", 2)
    wait_for_steps(Path("runs/my"), 3, run)
    run.send_signal(signal.SIGTERM)
    code, _, err = finish(run)
    assert code == 75, err
    done = len(losses(Path("runs/my")))
    changes = ("--set", f"length.steps={done + 2}", "--allow-recipe-change")
    code, out, err = finish(start("runs/my", "--resume", "--processes", 2, *changes, "--json"))
    assert code == 0, err
    assert json.loads(out)["result"]["steps"] == done + 2
    code, out, err = finish(start("--resume", "--processes", 2, "--json"))
    assert code == 0, err
    assert json.loads(out)["result"]["run"] == "runs/my"
    assert os.listdir("runs") == ["my"]
    begun = [row["command"] for row in read_metrics(Path("runs/my/starts.jsonl"))]
    assert begun[0] == ["catlipctl", "pretrain", "my.yaml", "--processes", "2"]
    assert begun[1][:3] == ["catlipctl", "pretrain", "runs/my"]


@pytest.mark.slow
def test_a_dead_process_ends_all_within_seconds(file: Path, tmp_path: Path) -> None:
    run = start(file, "--processes", 2, "--out", tmp_path / "run", "--set", "length.steps=100000")
    wait_for_steps(tmp_path / "run", 3, run)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    if not children.exists():
        run.kill()
        pytest.skip("no /proc here")
    os.kill(int(children.read_text().split()[1]), signal.SIGKILL)
    code, _, err = finish(run)
    assert code == 1
    assert "process 1 of 2 was killed by SIGKILL" in err


def test_a_killed_run_lets_go_of_its_directory_at_once(file: Path, tmp_path: Path) -> None:
    """Its loader's workers live on for seconds."""
    run = start(file, "--out", tmp_path / "run", "--set", "length.steps=100000", "--set", "data.workers=1")
    wait_for_steps(tmp_path / "run", 3, run)
    run.kill()
    run.wait()
    again = RunDirectory(tmp_path / "run")
    held = again.lock()
    again.release()
    assert held
