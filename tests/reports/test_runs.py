"""What a run's files say of it: at work, complete, stopped, failed, killed; and files that are damaged."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from catlipctl.errors import UsageError
from catlipctl.reports import runs as reported
from catlipctl.training.directory import RunDirectory


def write(path: Path, *, exit_code: int | None = None, age: float = 0.0, rows: int = 3, **start: Any) -> Path:
    """A run's files as `pretrain` leaves them."""
    (path / "checkpoints").mkdir(parents=True)
    (path / "recipe.yaml").write_text("model: {name: vit}\nlength: {steps: 9}\n")
    (path / "starts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ({"steps": 4}, start)))
    logged = [
        {"step": step, "samples": 8 * step, "loss": 1 / step, "lr": 0.1, "images_per_second": 10.0 * step}
        for step in range(1, rows + 1)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in logged))
    if exit_code is not None:
        ended = {"exit_code": exit_code, "message": f"it was {exit_code}", "hint": "", "rank": 0, "time": ""}
        (path / "exit.json").write_text(json.dumps({**ended, "complete": exit_code == 0}))
    for name in ("recipe.yaml", "metrics.jsonl"):
        os.utime(path / name, (time.time() - age,) * 2)
    return path


@pytest.mark.parametrize(
    ("exit_code", "state"),
    [(0, "complete"), (75, "stopped"), (130, "stopped"), (6, "failed"), (1, "failed"), (None, "killed")],
)
def test_a_run_that_has_ended_says_how(tmp_path: Path, exit_code: int | None, state: str) -> None:
    found = reported.summary(write(tmp_path / "run", exit_code=exit_code, age=100, steps=7))
    assert (found.state, found.exit_code) == (state, exit_code)
    assert found.message == ("" if exit_code is None else f"it was {exit_code}")
    assert (found.step, found.steps, found.loss, found.images_per_second) == (3, 7, 1 / 3, 30.0)
    assert found.age_seconds == pytest.approx(100, abs=20)


def test_a_run_whose_lock_is_held_is_at_work(tmp_path: Path) -> None:
    run = RunDirectory(write(tmp_path / "run", exit_code=6))
    assert run.lock()
    assert reported.summary(run.path).state == "running"
    run.release()
    assert reported.summary(run.path).state == "failed"


def test_of_damaged_files_the_rest_is_told(tmp_path: Path) -> None:
    run = write(tmp_path / "run", exit_code=0)
    with (run / "metrics.jsonl").open("ab") as stream:
        stream.write(b'\xff\xfe\n{"step": 9, "samples": 72, "lo')
    (run / "exit.json").write_text("[" * 9)
    (run / "starts.jsonl").write_bytes(b"\0\0\n")
    found = reported.summary(run)
    # Of runs before there was a count, the recipe says the steps.
    assert (found.state, found.step, found.steps) == ("killed", 3, 9)
    (run / "recipe.yaml").write_text("- 1")
    assert reported.summary(run).steps is None


def test_the_last_row_is_found_behind_many(tmp_path: Path) -> None:
    found = reported.summary(write(tmp_path / "run", rows=3000))
    assert (tmp_path / "run" / "metrics.jsonl").stat().st_size > 2**17
    assert found.step == 3000


def test_runs_and_fine_tuning_runs_under_them_are_found_the_newest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = write(tmp_path / "runs" / "old", age=100), write(tmp_path / "runs" / "new", age=50)
    tuned = write(old / "eval" / "ft-photos", exit_code=0, age=10)
    (old / "eval" / "lp-photos").mkdir()
    (tmp_path / "runs" / "notes").mkdir()
    # A person's own recipe makes no run.
    (tmp_path / "runs" / "mine").mkdir()
    (tmp_path / "runs" / "mine" / "recipe.yaml").write_text("model: {}\n")
    assert reported.found(tmp_path / "runs") == [tuned, new, old]
    assert reported.found(old) == [old]
    assert reported.runs(tmp_path / "nowhere").runs == []
    monkeypatch.chdir(tmp_path)
    assert reported.named([]) == [Path("runs/old/eval/ft-photos")]
    assert reported.named([Path("new"), old]) == [Path("runs/new"), old]
    with pytest.raises(UsageError, match="no run at notes") as refused:
        reported.named([Path("notes")])
    assert "new" in refused.value.hint


def test_the_peak_that_mfu_is_of_is_named(tmp_path: Path) -> None:
    peak = {"flops": 989e12, "of": "H100 SXM, bfloat16, dense"}
    assert reported.summary(write(tmp_path / "a", peak=peak)).peak == (
        "989 TFLOP/s (H100 SXM, bfloat16, dense)"
    )
    assert reported.summary(write(tmp_path / "b", peak="fast")).peak is None
