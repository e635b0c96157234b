"""Fixtures that several test folders share."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="session")
def in_processes() -> Callable[..., list[int]]:
    """Run a test's own file as all processes of a world: their exit codes.

    Each gets the arguments, and as many free ports after them as are asked for, to meet at: the first is
    MASTER_PORT, too.
    """

    def run(script: str, *arguments: object, processes: int = 2, ports: int = 0) -> list[int]:
        free = []
        for _ in range(max(1, ports)):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                free.append(str(probe.getsockname()[1]))
        world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free[0], "OMP_NUM_THREADS": "1"}
        world |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(processes))
        world["PYTHONPATH"] = os.pathsep.join(sys.path)
        running = [
            subprocess.Popen(
                [sys.executable, script, *map(str, arguments), *free[:ports]],
                env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(processes)
        ]
        return [process.wait(timeout=400) for process in running]

    return run


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


class Files(SimpleHTTPRequestHandler):
    """Files with range requests, as servers of large files have; some paths fail.

    ranges: whether it knows ranges. drops: every so-manieth answer ends in its midst. delays: and so-manieth
    comes late. requests: what was asked for, as (path, first byte). withheld: 403 of what is not there.
    """

    ranges = True
    withheld = False
    drops = 0
    delays = 0
    numbers: Iterator[int]
    requests: list[tuple[str, int]]

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if "/broken" in self.path:
            self.send_error(HTTPStatus.BAD_GATEWAY)
        elif self.path.startswith("/api/"):
            self.send_response(HTTPStatus.NOT_FOUND)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
        elif self.withheld and not os.path.exists(self.translate_path(self.path)):
            self.send_error(HTTPStatus.FORBIDDEN)
        elif asked and self.ranges:
            self.answer(int(asked[1]), int(asked[2]))
        else:
            super().do_GET()

    def answer(self, first: int, last: int) -> None:
        number = next(self.numbers)
        self.requests.append((self.path, first))
        with open(self.translate_path(self.path), "rb") as stream:
            stream.seek(first)
            body = stream.read(last - first + 1)
        if self.delays and number % self.delays == 0:
            time.sleep(0.05)
        self.send_response(HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.drops and number % self.drops == 0:
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.send_error(HTTPStatus.BAD_GATEWAY) if "/broken" in self.path else super().do_HEAD()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Start a server of `tmp_path`, or of another folder, and give its URL; `serve.stop(url)` ends it."""
    servers: dict[str, ThreadingHTTPServer] = {}

    def start(folder: Path = tmp_path, **attributes: Any) -> str:
        attributes = {"numbers": count(1), "requests": [], **attributes}
        handler = type("Handler", (Files,), attributes)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        servers[url] = server
        return url

    def stop(url: str) -> None:
        servers[url].shutdown()
        servers.pop(url).server_close()

    start.stop = stop  # type: ignore[attr-defined]
    yield start
    for url in list(servers):
        stop(url)
