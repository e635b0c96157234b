"""Who answers the signals that ask for an end: the main process alone. Its workers hear it, and end with it.

A scheduler signals every process of a job, a terminal a whole group. What is under way can be saved only if
the workers go on meanwhile.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from catlipctl.errors import Stopped

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGQUIT)

LAUNCHER_VARIABLE = "CATLIPCTL_LAUNCHER"
"""The process id of our launcher, in the environment of the processes that it starts."""
POLL_SECONDS = 0.2
"""Between two looks whether the parent is still there."""

_SAID: dict[bool | None, tuple[str, str]] = {
    None: ("", "run it again"),
    False: (" before the first step: nothing to save", "run it again"),
    True: (" after the last step: all is saved", "run it again with --resume"),
}


def exit_code(number: int) -> int:
    """130 for Ctrl-C; 75 ('run me again') for the others, which a scheduler or a lost terminal sends."""
    return 130 if number == signal.SIGINT else 75


def is_alive(pid: int) -> bool:
    """Is there a process of this number on this machine?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


class Signals:
    """Answers signals, to the end of its `with` block: by Stopped, and inside the loop at the step's end.

    Once one is answered, further ones change nothing: a launcher may hand on what a scheduler has sent, too.
    But a second Ctrl-C quits at once. `nohup` is respected.
    """

    def __init__(self) -> None:
        self.received: int = 0
        """The number of the signal that asked to stop, 0 if none did."""
        self.trained: bool | None = None
        """Has the run come to its last step, now or before? None where no run is under way."""
        self._deferred = False
        self._before: dict[int, Any] = {}
        # Processes of a launcher get a Ctrl-C from it and, it may be, from the terminal: it knows the second.
        self._joined = "WORLD_SIZE" in os.environ

    def __enter__(self) -> "Signals":
        self.answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def answer(self) -> None:
        """Begin. Without a `with` block it is to the end of the process, the way out included."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in answered_here()}
            if launcher := os.environ.get(LAUNCHER_VARIABLE):
                threading.Thread(target=_end_with_launcher, args=(int(launcher),), daemon=True).start()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, where a run trains, a signal is only remembered, for whoever looks at `received`.

        One that nobody has answered raises Stopped at the end. An error that ends the body is not hidden by a
        signal: it stays deferred until `run_ended`.
        """
        self._deferred = True
        yield
        self.trained, self._deferred = True, False
        if self.received:
            raise self._stopped(self.received)

    def run_ended(self) -> None:
        """No run is under way any more: a signal is answered at once."""
        self.trained, self._deferred = None, False

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        first, again = not self.received, number == self.received
        self.received = self.received or number
        if number == signal.SIGINT and again and not self._joined:
            raise KeyboardInterrupt
        if first and not self._deferred:
            raise self._stopped(number)

    def _stopped(self, number: int) -> Stopped:
        when, hint = _SAID[self.trained]
        name = signal.Signals(number).name
        return Stopped(f"stopped by {name}{when}", hint, exit_code=exit_code(number))


@contextmanager
def answered() -> Iterator[Signals]:
    """The signals of this process, answered in the body: by the body around it where there is one already."""
    around = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if isinstance(around, Signals):
        yield around
    else:
        with Signals() as signals:
            yield signals


def answered_here() -> list[signal.Signals]:
    """All that ask for an end, but SIGHUP under `nohup`."""
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in HANDLED if number != signal.SIGHUP or not nohup]


def _end_with_launcher(launcher: int) -> None:
    """A launcher that was killed can forward nothing; its processes must not train on for ever."""
    while os.getppid() == launcher:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def withheld() -> Iterator[None]:
    """Processes that are started inside are deaf to the signals from their birth, till they call `serve`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(above: int | None = None) -> None:
    """Make this process a worker of the one that started it inside `withheld`, by `multiprocessing` or not.

    above: the process id of that one where it was not `multiprocessing`. It leaves signals to that one, but
    for a SIGTERM that comes from there, and ends when it is gone, however it went.
    """
    started = multiprocessing.parent_process()
    parent = above if started is None else started.pid
    above = above or os.getppid()
    if not hasattr(signal, "sigtimedwait"):  # macOS does not tell who sent a signal
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def watch() -> None:
        # The pipe to the parent stays open while a sibling lives that was forked later; above a fork server
        # there is always the same process. One of both tells.
        while (started is None or started.is_alive()) and os.getppid() == above:
            if _sent_by(parent):
                break
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _sent_by(sender: int | None) -> bool:
    """Wait for a while; has this process sent us a SIGTERM?"""
    if not hasattr(signal, "sigtimedwait"):
        time.sleep(POLL_SECONDS)
        return False
    heard = signal.sigtimedwait(HANDLED, POLL_SECONDS)
    return heard is not None and heard.si_signo == signal.SIGTERM and heard.si_pid == sender
