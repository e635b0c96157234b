"""Who has a run's directory where the file system knows no `flock`, and says so by ENOLCK or others."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from catlipctl.training import lock
from catlipctl.training.lock import NO_FLOCK, Lock


@pytest.fixture
def _no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    fails_by(errno.ENOLCK, monkeypatch)


def fails_by(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)


OTHER = """
import errno, fcntl, os, signal, sys
from pathlib import Path
from catlipctl.training.lock import Lock

def refused(*_):
    raise OSError(errno.ENOLCK, "No locks available")

fcntl.flock = refused
held = Lock(Path(sys.argv[1]))
print(held.take(), flush=True)
sys.stdin.read()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("number", NO_FLOCK)
def test_one_holds_it_and_lets_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    fails_by(number, monkeypatch)
    first, second = Lock(tmp_path / "run"), Lock(tmp_path / "run")
    assert first.take()
    assert first.without_flock
    assert not second.take()
    second.release()
    assert not Lock(tmp_path / "run").take()
    first.release()
    assert second.take()
    second.release()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock"]


@pytest.mark.usefixtures("_no_flock")
def test_a_killed_process_of_this_machine_holds_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"True\n"
    assert not Lock(tmp_path).take()
    other.communicate(b"")
    again = Lock(tmp_path)
    assert again.take()
    again.release()


@pytest.mark.usefixtures("_no_flock")
@pytest.mark.parametrize("lives", [True, False])
def test_a_holder_on_another_machine_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lives: bool
) -> None:
    monkeypatch.setattr(lock, "STALE_SECONDS", 1.0)
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.1)
    there = Lock(tmp_path)
    there._own = json.dumps({**json.loads(there._own), "host": "another-machine"})
    assert there.take()
    if not lives:
        there._released.set()  # as if killed: it is kept fresh no more
    here = Lock(tmp_path)
    assert here.take() != lives
    here.release()
    there.release()


def test_another_error_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_by(errno.EIO, monkeypatch)
    with pytest.raises(OSError, match="Input/output"):
        Lock(tmp_path).take()
