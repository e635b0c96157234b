"""Rows of a run's metrics, and the record of its end, as a kill or an editor leaves them."""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from catlipctl.data.batch import Shape, Step
from catlipctl.errors import CatlipctlError, DataError
from catlipctl.progress import SILENT, Silent
from catlipctl.training.report import Report, RunState, append_row, read_metrics, truncate_metrics
from catlipctl.training.run import RunDirectory
from catlipctl.training.underway import Outcome
from catlipctl.training.utilisation import Utilisation
from catlipctl.training.world import World

ROWS = [{"step": n, "samples": 8 * n, "loss": 1.0 / n, "lr": 0.1} for n in (1, 2, 3)]


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_a_torn_last_row_is_made_again(metrics: Path) -> None:
    with metrics.open("a") as stream:
        stream.write('{"step": 4, "los')
    assert read_metrics(metrics) == ROWS
    truncate_metrics(metrics, 2)
    assert [json.loads(line) for line in metrics.read_text().splitlines()] == ROWS[:2]


@pytest.mark.parametrize("damaged", ["\0" * 40, "[]", '{"samples": 1, "loss": 1}', '{"step": "x"}', "\x1b"])
def test_a_damaged_row_is_named_and_what_follows_it_is_not_lost(metrics: Path, damaged: str) -> None:
    lines = metrics.read_text().splitlines()
    text = "\n".join([lines[0], damaged, *lines[1:]]) + "\n"
    metrics.write_text(text)
    for read in (read_metrics, lambda path: truncate_metrics(path, 3)):
        with pytest.raises(DataError, match=r"metrics\.jsonl, line 2, is not a row of metrics"):
            read(metrics)
    assert metrics.read_text() == text


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"[1]", b"\xff", b'{"rank": "0"}'])
def test_a_damaged_record_of_a_runs_end_hides_no_error(tmp_path: Path, content: bytes) -> None:
    run = RunDirectory(tmp_path)
    run.exit.write_bytes(content)
    with pytest.raises(CatlipctlError, match="the error itself"), run.recording_exit(0):
        raise CatlipctlError("the error itself")


class Heard(Silent):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def reported(
    heard: Silent, steps: int, every: int, seconds: float, waits: Sequence[float], loss: float = 2.0
) -> list[Any]:
    """The rows of so many steps of 8 images, each of so many seconds, by a clock of our own."""
    rows: list[Any] = []
    with SILENT.task("") as task:
        report = Report(
            rows.append,
            heard,
            task,
            RunState(),
            Utilisation(World(cpu=True), torch.float32, {Shape(32): 10**9}),
            steps=steps,
            every=every,
            source_size=80,
            workers=3,
        )
        begun = time.perf_counter()
        for index in range(steps):
            outcome = Outcome(
                loss=loss,
                grad_norm=0.5,
                parts={"labels": float(index)},
                replaced=1,
                finite=math.isfinite(loss),
                signals=(0, 0),
                overdue=(False, False),
                waits=tuple(waits),
                done=begun + (index + 1) * seconds,
            )
            report.step(Step(index, 32, 8, 8 * index), outcome, 0.1)
    return rows


def test_a_row_tells_of_the_steps_since_the_row_before_and_of_the_slowest_process() -> None:
    first, second, third = reported(SILENT, 5, 3, 100.0, (2.0, 5.0))
    assert [row["step"] for row in (first, second, third)] == [1, 3, 5]
    assert second["labels"] == 1.5
    assert third["labels"] == 3.5
    assert second["images_per_second"] == pytest.approx(0.08, abs=1e-3)
    assert second["data_wait"] == pytest.approx(0.05, abs=1e-3)
    assert third["tflops"] == pytest.approx(3 * 16e9 / 200 / 1e12, abs=1e-4)
    assert (third["samples"], third["epoch"], third["replaced"], third["skipped"]) == (40, 0.5, 5, 0)
    assert third["seconds"] == pytest.approx(500, abs=1)


@pytest.mark.parametrize(("waits", "told"), [((1.0, 9.0), 0), ((1.0, 30.0), 1)])
def test_a_run_that_waits_for_its_data_is_warned_once(waits: tuple[float, ...], told: int) -> None:
    heard = Heard()
    reported(heard, 120, 50, 100.0, waits)
    assert len(heard.warnings) == told
    assert all(warning.startswith("training waits for data 30 % of the time") for warning in heard.warnings)


def test_what_is_not_finite_is_null_and_read_again(tmp_path: Path) -> None:
    for row in reported(SILENT, 2, 1, 1.0, (0.0,), math.nan):
        append_row(tmp_path / "metrics.jsonl", row)
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [(row["loss"], row["skipped"]) for row in rows] == [(None, 1), (None, 2)]
