"""Rank 0's ear: a thread that holds a connection to each process of a run, and tells all why it must end.

Messages are JSON objects, a line each.
"""

import json
import os
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from catlipctl.errors import CatlipctlError, Stopped

ANSWER_SECONDS = 5.0
"""What a process gets to say where it stands: its own thread says it, so one that hangs can."""
KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 6}
"""Seconds, seconds and tries: a machine that lost its power ends a connection after 90 s."""


@dataclass(frozen=True)
class Failure:
    """Why a run ends before its time, as `exit.json` has it. rank: of the process that is the cause."""

    exit_code: int
    message: str
    hint: str
    rank: int

    @classmethod
    def of(cls, error: BaseException, rank: int) -> "Failure":
        """What an error comes to that the process of this rank has raised, or `World.on_main` in all."""
        rank = getattr(error, "rank", rank)
        if isinstance(error, CatlipctlError | Stopped):
            return cls(error.exit_code, error.message, error.hint, rank)
        code = 130 if isinstance(error, KeyboardInterrupt) else 7 if isinstance(error, MemoryError) else 1
        return cls(code, f"{type(error).__name__}: {error}", "", rank)

    @classmethod
    def died(cls, rank: int, size: int, host: str = "") -> "Failure":
        """A process has ended without a word."""
        return cls(
            1,
            f"{_name(rank, size, host)} is gone: it was killed, or its machine is down",
            "if it was not you, its machine may have run out of memory: take fewer processes or workers; "
            "then go on by --resume",
            rank,
        )

    @classmethod
    def hung(cls, rank: int, size: int, seconds: float, how: str, host: str = "") -> "Failure":
        """A process has not come to its next step in time."""
        return cls(
            1,
            f"{_name(rank, size, host)} hangs: the others have waited for it for {seconds:.0f} s, and {how}",
            "look at its machine, its storage and its network; then go on by --resume",
            rank,
        )

    def error(self, rank: int) -> CatlipctlError:
        """What the process of this rank raises for it."""
        own = self.rank == rank or self.message.startswith("process ")
        error = CatlipctlError(self.message if own else f"process {self.rank}: {self.message}", self.hint)
        error.exit_code = self.exit_code
        return error


def _name(rank: int, size: int, host: str) -> str:
    return f"process {rank} of {size}" + (f" (on {host})" if host else "")


def address() -> str:
    """Rank 0's machine, as all processes of the run have found it already."""
    return os.environ.get("MASTER_ADDR", "127.0.0.1")


def keep_alive(connection: socket.socket) -> None:
    """Let the system find out that the other side's machine is down."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE.items():
        if hasattr(socket, name):  # not all of them everywhere
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Lines:
    """Messages over a connection; what is sent to one that has ended is lost."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._rest, self._sending = b"", threading.Lock()

    def send(self, **message: Any) -> None:
        """Send a message."""
        with self._sending, suppress(OSError):
            self.connection.sendall(json.dumps(message).encode() + b"\n")

    def heard(self) -> Iterator[dict[str, Any] | None]:
        """The messages that have come, at most after the connection's timeout; None once it has ended.

        It ends where what comes is no message: whoever scans a machine's ports finds this one, too.
        """
        try:
            part = self.connection.recv(2**16)
        except TimeoutError:
            return
        except OSError:
            part = b""
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if not isinstance(message, dict):
                yield None
                return
            yield message
        if not part:
            yield None


class Hub:
    """Hears all processes, rank 0's own too, and tells them the first failure of all."""

    def __init__(self, size: int) -> None:
        loopback = address() in ("127.0.0.1", "localhost")
        if loopback or not socket.has_dualstack_ipv6():
            self._server = socket.create_server(("127.0.0.1" if loopback else "", 0), backlog=size)
        else:
            self._server = socket.create_server(
                ("", 0), family=socket.AF_INET6, backlog=size, dualstack_ipv6=True
            )
        self.port = int(self._server.getsockname()[1])
        self.token = secrets.token_hex(16)
        """Who knows it is a process of this run."""
        self._size = size
        self._selector = selectors.DefaultSelector()
        self._ranks: dict[Lines, int] = {}
        self._hosts: dict[int, str] = {}
        self._cause: Failure | None = None
        self._answers: dict[int, dict[str, Any]] = {}
        self._lost, self._waited = "", 0.0
        self._judged_at: float | None = None
        self._closing, self._closed = False, threading.Event()
        self._selector.register(self._server, selectors.EVENT_READ)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self, seconds: float = ANSWER_SECONDS) -> None:
        """End once all others have gone, or heard why the run ends."""
        self._closing = True
        self._closed.wait(seconds)

    def _serve(self) -> None:
        while not (self._closing and not self._ranks):
            for key, _ in self._selector.select(0.1):
                if key.data is None:
                    self._accept()
                    continue
                for message in key.data.heard():
                    self._take(key.data, message)
            if self._judged_at is not None and self._cause is None and time.monotonic() > self._judged_at:
                self._judge()
        self._server.close()
        self._selector.close()
        self._closed.set()

    def _accept(self) -> None:
        connection, _ = self._server.accept()
        keep_alive(connection)
        connection.settimeout(ANSWER_SECONDS)
        self._selector.register(connection, selectors.EVENT_READ, Lines(connection))

    def _take(self, lines: Lines, message: dict[str, Any] | None) -> None:
        rank = self._ranks.get(lines)
        if message is None or (rank is None and message.get("token") != self.token):
            self._forget(lines)
            if rank is not None:
                self._tell(Failure.died(rank, self._size, self._hosts[rank]))
            return
        if rank is None:
            self._ranks[lines], self._hosts[message["rank"]] = message["rank"], message["host"]
            if self._cause is not None:
                lines.send(kind="end", cause=asdict(self._cause))
            return
        kind = message.pop("kind")
        if kind in ("bye", "heard"):
            self._forget(lines)
        elif kind == "failed":
            self._tell(Failure(**message))
        elif kind == "at":
            self._answers[rank] = message
            if len(self._answers) == len(self._ranks) and not self._lost:
                self._judge()
        elif kind == "lost":
            self._lost = self._lost or f"process {rank}: {message['message']}"
            self._ask()
        else:
            self._waited = message["seconds"]
            self._ask()

    def _forget(self, lines: Lines) -> None:
        if lines.connection.fileno() < 0:  # its last words came together
            return
        self._ranks.pop(lines, None)
        self._selector.unregister(lines.connection)
        lines.connection.close()

    def _ask(self) -> None:
        """Ask all where they stand, and judge when they have had their time: a death is heard of by then."""
        if self._judged_at is None:
            self._judged_at = time.monotonic() + ANSWER_SECONDS
            for lines in self._ranks:
                lines.send(kind="where")

    def _judge(self) -> None:
        """Name the process that the others wait for."""
        silent = [rank for rank in self._ranks.values() if rank not in self._answers]
        late = [rank for rank, answer in self._answers.items() if not answer["waits"]]
        if silent:
            how = f"it does not answer within {ANSWER_SECONDS:.0f} s"
            self._tell(Failure.hung(silent[0], self._size, self._waited, how, self._hosts[silent[0]]))
        elif self._lost:
            self._tell(Failure(1, f"processes have lost each other, and all live: {self._lost}", "", 0))
        elif late:
            rank = late[0]
            how = f"it stands at {self._answers[rank]['place']}"
            self._tell(Failure.hung(rank, self._size, self._waited, how, self._hosts[rank]))
        else:
            places = "; ".join(f"{rank} at {answer['place']}" for rank, answer in self._answers.items())
            self._tell(Failure(1, f"all {self._size} processes wait for one another: {places}", "", 0))

    def _tell(self, cause: Failure) -> None:
        if self._cause is None:
            self._cause = cause
            for lines in self._ranks:
                lines.send(kind="end", cause=asdict(cause))
