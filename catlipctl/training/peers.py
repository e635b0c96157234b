"""The processes of a run hear of each other's error, death or hang, and end within seconds by one cause.

Collectives tell too little of it: gloo names a connection, NCCL may wait for minutes, and while rank 0 counts
a vocabulary for hours nobody meets. So each process holds a connection to rank 0 besides (`hub`), which tells
all what it hears first. A process whose connection ends has died. Where one is late for its next step, all
are asked where they stand, and a thread of theirs answers.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from catlipctl.errors import CatlipctlError, Stopped
from catlipctl.training.hub import ANSWER_SECONDS, Failure, Hub, Lines, address, keep_alive
from catlipctl.training.world import World

POLL_SECONDS = 0.5
CONNECT_SECONDS = 20.0
GRACE_SECONDS = {"main": 4.0, "other": 1.0}
"""For the main thread to end by itself, once the cause is known: rank 0 tells it, so it has longer."""
ENDING_SECONDS = 90.0
"""And on its way out: a save that is under way may take its time, and NCCL may hang for ever."""
INTERRUPT = signal.SIGUSR2
"""Raises the cause in the main thread; one that is inside a collective does not hear it."""

LOST = ("gloo", "NCCL", "Connection reset", "Connection closed", "Connection refused", "Broken pipe", "c10d")
"""What the errors of collectives say of a process that is gone."""


@dataclass
class Peers:
    """One process's connection to all others, to the end of its `with` block.

    told: is called, in a thread, with the cause as soon as it is known.
    """

    world: World
    told: Callable[[Failure], object]
    cause: Failure | None = None
    """Why the run ends; None while it goes well."""

    def __post_init__(self) -> None:
        self._known, self._ending, self._left = threading.Event(), False, False
        self._hub: Hub | None = None
        self._lines: Lines | None = None
        self._asked_at: float | None = None
        self._before: Any = None

    def __enter__(self) -> "Peers":
        world = self.world
        if world.size == 1:
            return self
        if world.is_main:
            self._hub = Hub(world.size)
        port, token = world.on_main(lambda: (self._hub.port, self._hub.token) if self._hub else (0, ""))
        try:
            connection = socket.create_connection((address(), port), CONNECT_SECONDS)
        except OSError:
            # A firewall, say. Then collectives alone tell of the others, later and less.
            return self
        keep_alive(connection)
        connection.settimeout(POLL_SECONDS)
        self._lines = Lines(connection)
        self._lines.send(token=token, rank=world.rank, host=socket.gethostname())
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(INTERRUPT, self._interrupted)
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = self._left = True
        if self._before is not None:
            signal.signal(INTERRUPT, self._before)
        if self._lines is not None:
            self._lines.send(kind="bye")
        if self._hub is not None:
            self._hub.close()

    def agreed(self, error: BaseException) -> Failure:
        """Why all processes end, once this one has raised `error`: the first failure of them all.

        Where it has only lost the others, what became of them is asked.
        """
        self._ending = True
        own = Failure.of(error, self.world.rank)
        if self._lines is not None and self.cause is None:
            self._lines.send(kind="lost" if _lost(error) else "failed", **asdict(own))
            self._known.wait(3 * ANSWER_SECONDS)
        return self.cause or own

    def _listen(self) -> None:
        """The thread: hears what rank 0 says, and sees to it that the main thread comes on, or to its end."""
        assert self._lines is not None
        while not self._left:
            if self.cause is not None:
                self._end_in_time()
            elif self.world.overdue and self._asked_at is None:
                self._asked_at = time.monotonic()
                self._lines.send(kind="stalled", seconds=self.world.patience)
            elif self._asked_at is not None and time.monotonic() > self._asked_at + 3 * ANSWER_SECONDS:
                self._hear(Failure.hung(0, self.world.size, self.world.patience, "it does not answer"))
            for message in self._lines.heard():
                if message is None:
                    self._connection_ended()
                    return
                if message["kind"] == "where":
                    self._lines.send(kind="at", **self._where())
                else:
                    self._hear(Failure(**message["cause"]))

    def _connection_ended(self) -> None:
        if not self._left:
            self._hear(Failure.died(0, self.world.size))
        while not self._left:
            self._end_in_time()
            time.sleep(POLL_SECONDS)

    def _hear(self, cause: Failure) -> None:
        if self.cause is not None:
            return
        self.cause, self._heard_at = cause, time.monotonic()
        self.told(cause)
        self._known.set()
        assert self._lines is not None
        self._lines.send(kind="heard")
        if not self._ending and self._before is not None:
            signal.pthread_kill(threading.main_thread().ident or 0, INTERRUPT)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.cause is not None and not self._ending:
            self._ending = True
            # It may be on its way out by itself, and wait for a save that is under way.
            if sys.exc_info()[0] is None:
                raise self.cause.error(self.world.rank)

    def _end_in_time(self) -> None:
        """End the process where its main thread waits for what never comes: untested under NCCL."""
        assert self.cause is not None
        grace = GRACE_SECONDS["main" if self.world.is_main else "other"]
        if time.monotonic() < self._heard_at + (ENDING_SECONDS if self._ending else grace):
            return
        if not self._ending:
            error = self.cause.error(self.world.rank)
            print(f"error: {error.message}", file=sys.stderr)
            if error.hint:
                print(f"hint: {error.hint}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(self.cause.exit_code)

    def _where(self) -> dict[str, Any]:
        """Where the main thread stands: in torch it waits for the others, anywhere else they wait for it."""
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        innermost, ours = frame, None
        while frame is not None and ours is None:
            if _module(frame).startswith("catlipctl."):
                ours = frame
            frame = frame.f_back
        if innermost is None:
            return {"place": "nowhere", "waits": False}
        module = _module(innermost)
        waits = module.startswith("torch.") and not module.startswith("torch.utils.data")
        places = dict.fromkeys(_place(each) for each in (ours, innermost) if each is not None)
        return {"place": ", at ".join(places), "waits": waits}


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _place(frame: FrameType) -> str:
    return f"{Path(frame.f_code.co_filename).name} line {frame.f_lineno} ({frame.f_code.co_name})"


def _lost(error: BaseException) -> bool:
    """Does it say no more than that another process is gone?"""
    if isinstance(error, CatlipctlError | Stopped) or not isinstance(error, RuntimeError | OSError):
        return False
    return type(error).__module__.startswith("torch.distributed") or any(word in str(error) for word in LOST)
