"""Who has a run's directory, where another has just taken it away."""

import fcntl
import json
import shutil
from pathlib import Path

import pytest

from catlipctl.training.directory import RunDirectory


def test_a_directory_that_is_taken_away_is_free_for_the_next(tmp_path: Path) -> None:
    first, second = RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "run")
    assert first.lock()
    assert not second.lock()
    first.discard_unstarted()
    assert list(tmp_path.iterdir()) == []
    assert second.lock()
    # The first one's lock is of a directory that is gone: it does not hold the second's.
    first.release()
    assert not RunDirectory(tmp_path / "run").lock()
    second.release()


def test_what_is_worth_keeping_is_not_taken_away(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    assert run.lock()
    run.vocabulary.write_text("{}")
    run.discard_unstarted()
    assert run.vocabulary.exists()
    run.release()


def test_the_lock_of_a_directory_that_is_gone_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock

    def after_its_end(descriptor: int, operation: int) -> None:
        shutil.rmtree(tmp_path / "run")
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", after_its_end)
    assert not RunDirectory(tmp_path / "run").lock()


def test_a_damaged_row_of_starts_stops_no_start(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.starts.write_bytes(b'{"step": 0}\n\xff\xfe\n')
    run.add_start({"step": 5})
    first, _, last = run.starts.read_text(encoding="utf-8").splitlines()
    assert (json.loads(first), json.loads(last)) == ({"step": 0}, {"step": 5})


def test_who_looks_whether_a_run_is_at_work_takes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    run, other = RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "run")
    assert not other.in_use
    assert not (tmp_path / "run").exists()
    assert run.lock()
    assert other.in_use
    run.release()
    assert not other.in_use
    assert run.lock()
    run.release()
