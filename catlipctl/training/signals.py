"""Signals that ask a run to end: outside the loop they end it at once, inside it at the step's end."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from catlipctl.errors import Stopped

HANDLED = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))

LAUNCHER_VARIABLE = "CATLIPCTL_LAUNCHER"
"""The process id of our launcher, in the environment of the processes that it starts."""


def exit_code(number: int) -> int:
    """130 for Ctrl-C; 75 ('run me again') for SIGTERM and SIGUSR1, which a scheduler sends."""
    return 130 if number == signal.SIGINT else 75


class Signals:
    """Catches SIGINT, SIGTERM and SIGUSR1 inside its `with` block. A second Ctrl-C quits at once."""

    def __init__(self) -> None:
        self._received = 0
        self._deferred = False
        self.trained = False
        """Has the run come to its last step, now or before?"""
        self._before: dict[int, Any] = {}
        self._process = os.getpid()
        self._launcher = int(os.environ.get(LAUNCHER_VARIABLE, "0"))

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in HANDLED}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, where a run trains, a signal is only remembered, for whoever polls `received`."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred, self.trained = False, True

    @property
    def received(self) -> int:
        """The number of the signal that asked to stop, 0 if none did."""
        # A launcher that was killed can forward nothing; its processes must not train on for ever.
        if not self._received and self._launcher and os.getppid() != self._launcher:
            return signal.SIGTERM
        return self._received

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if os.getpid() != self._process:
            _as_in_a_worker(number)
            return
        if number == signal.SIGINT and self._received == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = number
        if not self._deferred:
            when = (
                "after the last step: all is saved"
                if self.trained
                else "before the first step: nothing to save"
            )
            raise Stopped(
                f"stopped by {signal.Signals(number).name} {when}",
                "run it again with --resume" if self.trained else "run it again",
                exit_code=exit_code(number),
            )


def _as_in_a_worker(number: int) -> None:
    """In a forked worker, which inherits the handlers: Ctrl-C is the parent's affair, the rest ends it."""
    if number != signal.SIGINT:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
