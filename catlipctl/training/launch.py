"""Starting N processes of the same command on this machine, and ending them as one.

torchrun does this too, but returns 1 whatever its children said, and dies of SIGUSR1 itself.
"""

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from catlipctl.errors import CatlipctlError, MachineError, Stopped, UsageError
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Result
from catlipctl.signals import HANDLED, LAUNCHER_VARIABLE, answered_here, exit_code

GRACE_SECONDS = 10.0
"""What the others get to end by themselves, with the first one's error, once a process has failed."""


@dataclass(frozen=True)
class Devices:
    """How many processes train on this machine, and on what."""

    processes: int
    cpu: bool
    note: str = ""


class LaunchCommand(Result):
    """The command lines that start the same run under torchrun, one a node; `command` is the first."""

    command: str
    commands: list[str]


def joined() -> bool:
    """Was this process started by a launcher, ours or another?"""
    return "WORLD_SIZE" in os.environ


def not_together(gpus: int | None, processes: int | None) -> None:
    """UsageError where both are given: a mistake on every machine."""
    if gpus and processes is not None:
        raise UsageError("--gpus and --processes together", "leave one out: --processes is for CPUs")


def devices(gpus: int | None, processes: int | None) -> Devices:
    """What `--gpus` or `--processes` asks for; MachineError where there are fewer GPUs."""
    not_together(gpus, processes)
    found = torch.cuda.device_count()
    if processes is not None or gpus == 0:
        return Devices(max(1, processes or 1), cpu=True)
    if gpus is not None and gpus > found:
        raise MachineError(
            f"--gpus {gpus}: this machine shows {found}",
            "ask for fewer, or stay on the CPU with --processes N; catlipctl doctor looks at the devices",
        )
    if found == 0:
        return Devices(1, cpu=True)
    note = f"using 1 of {found} GPUs (--gpus {found} uses all)" if gpus is None and found > 1 else ""
    return Devices(gpus or 1, cpu=False, note=note)


def world_size(gpus: int | None, processes: int | None) -> int:
    """Processes that a command would train with, on this machine or on another that has the GPUs."""
    if joined():
        return int(os.environ["WORLD_SIZE"])
    return max(1, gpus or processes or 1)


def torchrun_lines(arguments: Sequence[str], processes: int, nodes: int = 1, master: str = "") -> list[str]:
    """The same run under torchrun, a line a node, with the signals that it would otherwise not hand on.

    processes: on each node. master: HOST:PORT of the first node, which all nodes reach.
    """
    handled = [
        "--signals-to-handle",
        ",".join(s.name for s in HANDLED),
        "-m",
        "catlipctl.cli.main",
        *arguments,
    ]
    each = ["--nproc-per-node", str(processes), *handled]
    if nodes == 1:
        return [shlex.join(["torchrun", "--standalone", *each])]
    host, _, port = master.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UsageError(
            f"--master {master!r} is not HOST:PORT" if master else "--nodes without --master",
            "--master HOST:PORT names the first node, as the others reach it, and a free port on it",
        )
    there = ["--master-addr", host, "--master-port", port]
    return [
        shlex.join(["torchrun", "--nnodes", str(nodes), "--node-rank", str(node), *there, *each])
        for node in range(nodes)
    ]


def launch(arguments: Sequence[str], wanted: Devices, progress: Progress = SILENT) -> int:
    """Run `catlipctl ARGUMENTS` in several processes; returns the exit code that rank 0 has explained.

    Rank 0 inherits stdout and stderr, so the result and the errors are its own. Signals that ask for an end
    are forwarded; a second Ctrl-C quits at once (KeyboardInterrupt). Where rank 0 cannot say why a process
    died, its error is raised here.
    """
    with tempfile.TemporaryDirectory(prefix="catlipctl-") as folder:
        logs = [Path(folder) / f"{rank}.log" for rank in range(wanted.processes)]
        children = _start(arguments, wanted, logs)
        forwarded: list[int] = []
        forward = _forwarder(children, forwarded)
        before = {number: signal.signal(number, forward) for number in answered_here()}
        try:
            failed = _first_to_fail(children)
            if failed is None:
                return 0
            _end(children)
            return _explained(children, failed, forwarded, logs, progress)
        finally:
            _end(children, grace=0)
            for number, handler in before.items():
                signal.signal(number, handler)


def _start(arguments: Sequence[str], wanted: Devices, logs: list[Path]) -> list[subprocess.Popen[bytes]]:
    count = wanted.processes
    threads = max(1, (os.cpu_count() or 1) // count)
    shared = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        LAUNCHER_VARIABLE: str(os.getpid()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
    }
    children = []
    for rank, log in enumerate(logs):
        environment = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        with log.open("wb") as stderr:
            children.append(
                subprocess.Popen(
                    [sys.executable, "-m", "catlipctl.cli.main", *arguments],
                    env=environment,
                    stderr=None if rank == 0 else stderr,
                    # A group of its own: a terminal's Ctrl-C reaches a child once, through us, and not twice.
                    process_group=0,
                )
            )
    return children


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _forwarder(children: list[subprocess.Popen[bytes]], forwarded: list[int]) -> Any:
    def forward(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if number == signal.SIGINT and number in forwarded:
            raise KeyboardInterrupt
        forwarded.append(number)
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    return forward


def _first_to_fail(children: list[subprocess.Popen[bytes]]) -> int | None:
    """Wait; the rank of the first process that ends with anything but 0, None when all have ended with 0."""
    while True:
        codes = [child.poll() for child in children]
        failed = [rank for rank, code in enumerate(codes) if code]
        if failed:
            # Of several in one glance, a signal's victim came first: the others miss it.
            return min(failed, key=lambda rank: (codes[rank] or 0) > 0)
        if all(code == 0 for code in codes):
            return None
        time.sleep(0.05)


def _end(children: list[subprocess.Popen[bytes]], grace: float = GRACE_SECONDS) -> None:
    deadline = time.monotonic() + grace
    while any(child.poll() is None for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    for child in children:
        if child.poll() is None:
            child.kill()
            child.wait()


def _explained(
    children: list[subprocess.Popen[bytes]],
    failed: int,
    forwarded: list[int],
    logs: list[Path],
    progress: Progress,
) -> int:
    code, main = int(children[failed].returncode), int(children[0].returncode)
    if main <= 0 and (asked := [n for n in forwarded if code in (-n, exit_code(n))]):
        name = signal.Signals(asked[0]).name
        raise Stopped(
            f"stopped by {name} before the run began", "run it again", exit_code=exit_code(asked[0])
        )
    if main > 0 and code > 0:
        return main
    if code > 0:
        error = CatlipctlError(f"process {failed} of {len(children)} failed:\n{_tail(logs[failed])}")
        error.exit_code = code
    else:
        error = CatlipctlError(
            f"process {failed} of {len(children)} was killed by {signal.Signals(-code).name}",
            "if it was not you, the machine may have run out of memory: take fewer processes or workers",
        )
    if main > 0:
        # Rank 0 has told that it lost the connection, which is not the cause.
        progress.warn(error.message)
        return main
    raise error


def _tail(log: Path, lines: int = 20) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(text[-lines:]) or "it said nothing"
