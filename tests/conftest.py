"""Fixtures that several test folders share."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

# The same examples in every run: what passed once passes again, and a failure can be repeated.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# In a shell's background Ctrl-C is ignored, and so it would be in processes that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def living() -> Callable[[list[psutil.Process], float], list[psutil.Process]]:
    """Those of the processes that still run after so many seconds; one that nobody buries does not."""

    def runs(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def found(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
        end = time.monotonic() + seconds
        while True:
            alive = list(filter(runs, processes))
            if not alive or time.monotonic() > end:
                return alive
            time.sleep(0.02)

    return found


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a disk of so many MiB, a tmpfs; skips where this user may not mount one."""
    mounted: list[Path] = []

    def disk(mebibytes: int) -> Path:
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no small disk can be mounted here: {error}")
        mounted.append(folder)
        return folder

    yield disk
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


SHARED = Path(__file__).resolve().parents[2] / "shared"


def _shared(name: str) -> Path:
    """A folder of `shared`; where it is absent the test skips, or fails where CI is set: it promised it."""
    folder = SHARED / name
    if folder.is_dir():
        return folder
    reason = f"needs shared/{name}, which does not lie beside this checkout"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI is set", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real image-text pairs, captions and label lists that may not be shipped."""
    return _shared("data")


@pytest.fixture(scope="session")
def nltk_data() -> Path:
    """NLTK's corpora, with NLTK told to look there."""
    import nltk

    folder = _shared("nltk_data")
    if str(folder) not in nltk.data.path:
        nltk.data.path.insert(0, str(folder))
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache: all share one of the test run's own."""
    root = tmp_path_factory.getbasetemp() / "catlipctl-cache"
    monkeypatch.setenv("CATLIPCTL_CACHE_DIR", str(root))


@pytest.fixture(autouse=True)
def _own_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are as wide as they are by default, whatever terminal or runner the tests were started from."""
    monkeypatch.delenv("COLUMNS", raising=False)
