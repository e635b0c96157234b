"""A run that is killed again and again loses nothing; `make test-kills` does it at length."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = Path(__file__).with_name("kills.py")


@pytest.mark.slow
def test_a_run_that_is_killed_and_resumed_has_lost_nothing() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = ["--kills", "4", "--steps", "40", "--sets", "one,changing"]
    done = subprocess.run(
        [sys.executable, str(KILLS), *arguments], env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("one", "changing"):
        assert f"{name}: 4 kills, " in done.stdout
        assert f"{name}: every step as in peace" in done.stdout
