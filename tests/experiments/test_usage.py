"""CPU seconds of a run's starts: what this process and its children burn, added up; a kill loses some.

Clocks of processes tick each hundredth of a second: `TICKS` of them may be missing.
"""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from catlipctl.experiments.usage import cpu_seconds, cpu_seconds_of, recorded

TICKS = 0.03
BURN = "import time\nwhile time.process_time() < 0.3: pass"


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_children_count_while_they_work_and_when_they_have_ended() -> None:
    before = cpu_seconds()
    burn(0.2)
    assert cpu_seconds() - before >= 0.2 - TICKS
    before = cpu_seconds()
    with subprocess.Popen([sys.executable, "-c", f"{BURN}\ninput()"], stdin=subprocess.PIPE) as child:
        until = time.monotonic() + 60
        while cpu_seconds() - before < 0.3 - TICKS:
            assert time.monotonic() < until
            time.sleep(0.02)
        child.communicate(b"\n")
    assert cpu_seconds() - before >= 0.3 - TICKS


def test_starts_are_added_and_what_a_kill_has_lost_is_not_known(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with recorded(run):
        run.mkdir()
        burn(0.1)
    once = cpu_seconds_of(run)
    assert once is not None
    assert once >= 0.1 - TICKS

    def interrupted() -> None:
        with recorded(run):
            assert cpu_seconds_of(run) is None, "a kill here would leave it unknown"
            burn(0.1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    twice = cpu_seconds_of(run)
    assert twice is not None
    assert twice >= once + 0.1 - TICKS
    # A run whose first start left no word was killed.
    lost = tmp_path / "lost"
    lost.mkdir()
    with recorded(lost):
        pass
    assert cpu_seconds_of(lost) is None
