"""Rows of a run's metrics, and the record of its end, as a kill or an editor leaves them."""

import json
from pathlib import Path

import pytest

from catlipctl.errors import CatlipctlError, DataError
from catlipctl.training.report import read_metrics, truncate_metrics
from catlipctl.training.run import RunDirectory

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
