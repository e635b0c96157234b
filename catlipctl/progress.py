"""How long work tells what it is doing, without knowing whether anyone looks.

Work takes a `Progress` and reports to it; the command line hands in one that draws (`cli/output.py`),
a test or a library caller leaves the default, which is silent.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work under way."""

    def advance(self, amount: int = 1, **fields: float | str) -> None:
        """Move on by `amount`; `fields` (loss=..., lr=...) are shown beside the rate."""

    def expect(self, total: int) -> None:
        """A better guess of how many units there are in all."""


class Progress(Protocol):
    """Where work reports to."""

    def task(
        self, description: str, total: int | None = None, unit: str = "it", done: int = 0
    ) -> AbstractContextManager[Task]:
        """A piece of work of `total` units (None: unknown), under way inside the `with` block.

        done: units that an earlier start has done; rate and ETA are told of this one.
        """

    def note(self, message: str) -> None:
        """One line that is worth knowing."""

    def warn(self, message: str) -> None:
        """One line about something that the user may want to mend."""


class _SilentTask:
    def advance(self, amount: int = 1, **fields: float | str) -> None:
        pass

    def expect(self, total: int) -> None:
        pass


class Silent:
    """Reports to nobody."""

    @contextmanager
    def task(
        self,
        description: str,  # noqa: ARG002
        total: int | None = None,  # noqa: ARG002
        unit: str = "it",  # noqa: ARG002
        done: int = 0,  # noqa: ARG002
    ) -> Iterator[Task]:
        yield _SilentTask()

    def note(self, message: str) -> None:
        pass

    def warn(self, message: str) -> None:
        pass


SILENT: Progress = Silent()
