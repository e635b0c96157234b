"""What reaches the terminal: the result on stdout, everything else on stderr, and each error as two lines.

Whatever is shown is `printable`: a caption cannot clear the screen.
"""

import json as json_module
import os
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import typer

from catlipctl.errors import CatlipctlError, Stopped, as_known
from catlipctl.printable import one_line, printable, printable_json
from catlipctl.progress import Task

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    from catlipctl.results import Result

LINE_EVERY_SECONDS = 5.0


class Output:
    """The one object through which a command speaks; itself a `Progress`."""

    def __init__(self, command: str, *, json: bool) -> None:
        self.command = command
        self.json = json
        self._result: Result | None = None
        self._inputs: dict[str, str] = {}

    def result(self, result: "Result", *shown: "RenderableType", error: CatlipctlError | None = None) -> None:
        """The command's result: as JSON if asked for, else `shown` (tables, lines of text) on stdout.

        error: what the command will raise after it; it stands beside the result in the JSON document.
        """
        result.inputs = {**self._inputs, **result.inputs}
        self._result = result
        if self.json:
            told = {} if error is None else {"error": _as_body(error)}
            self.document("error" if told else "ok", result=result.model_dump(mode="json"), **told)
            return
        _show(shown, sys.stdout)

    def document(self, status: str, **body: Any) -> None:
        """Print the one JSON document of this command."""
        from catlipctl.results import SCHEMA_VERSION

        head = {"schema_version": SCHEMA_VERSION, "command": self.command, "status": status}
        print(printable_json(json_module.dumps({**head, **body}, ensure_ascii=False)), flush=True)

    def uses(self, name: str, value: str, description: str = "") -> None:
        """Record an input; one that was chosen for the user is told on stderr (`description`: its age)."""
        self._inputs[name] = value
        if description:
            self.note(f"{name}: {value} ({description})")

    def note(self, message: str) -> None:
        """One line that is worth knowing, on stderr."""
        print(printable(message), file=sys.stderr, flush=True)

    def note_table(self, table: "Table") -> None:
        """A table that is worth knowing, on stderr."""
        _show([table], sys.stderr)

    def warn(self, message: str) -> None:
        """One line about something that the user may want to mend, on stderr."""
        self.note(f"warning: {message}")

    def fail(self, error: CatlipctlError | Stopped) -> None:
        """Say what happened and what mends it; with --json, as the document too."""
        if self.json and self._result is None:
            self.document("error", error=_as_body(error))
        print_error(error)

    @contextmanager
    def task(
        self, description: str, total: int | None = None, unit: str = "it", done: int = 0
    ) -> Iterator[Task]:
        """A bar with rate and ETA on a terminal, a line every few seconds elsewhere."""
        if sys.stderr.isatty() and not os.environ.get("CATLIPCTL_NO_PROGRESS"):
            with _bar(description, total, unit, done) as task:
                yield task
        else:
            lines = _Lines(self, description, total, unit, done)
            yield lines
            lines.close()


def _as_body(error: CatlipctlError | Stopped) -> dict[str, Any]:
    return {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}


def is_main() -> bool:
    """Is this the process that speaks for all of a launcher's: rank 0, or the only one?"""
    return os.environ.get("RANK", "0") == "0"


def only_main_speaks() -> None:
    """Close the standard output of all processes but the first: a result is told once."""
    if not is_main():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (open until the process ends)


def print_error(error: CatlipctlError | Stopped) -> None:
    """`error: what happened`, then `hint: what mends it`, on stderr."""
    print(printable(f"error: {error.message}"), file=sys.stderr)
    if error.hint:
        print(printable(f"hint: {error.hint}"), file=sys.stderr, flush=True)


@contextmanager
def command(name: str, *, json: bool = False) -> Iterator[Output]:
    """The body of every command runs in this: errors become two lines and the documented exit code."""
    out = Output(name, json=json)
    try:
        yield out
    except Stopped as stopped:
        out.fail(stopped)
        raise typer.Exit(stopped.exit_code) from None
    except (typer.Exit, typer.Abort, KeyboardInterrupt):
        raise
    except BrokenPipeError:
        # Whoever read our output has gone. What is still buffered must not fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(128 + 13) from None
    except Exception as error:
        known = as_known(error)
        if os.environ.get("CATLIPCTL_DEBUG"):
            print(printable("".join(traceback.format_exception(error))), end="", file=sys.stderr)
        out.fail(known)
        raise typer.Exit(known.exit_code) from None


def age(seconds: float) -> str:
    """A duration as people say it: `12 s ago`, `3 min ago`, `5 h ago`, `2 days ago`."""
    for unit, size, limit in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172800)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds / 86400:.0f} days ago"


def _console(**options: Any) -> "Console":
    """A console that shows texts as they are: no markup, no :emoji: names, and no orders to the terminal."""
    from rich.console import Console

    class Printable(Console):
        def render_str(self, text: str, *arguments: Any, **styles: Any) -> "Text":
            # Lines, and a table's title, names and cells: all that is no Text yet passes here.
            return super().render_str(printable(text), *arguments, **styles)

    return Printable(highlight=False, markup=False, emoji=False, **options)


def _show(items: "Iterable[RenderableType]", stream: TextIO) -> None:
    from rich.text import Text

    # A terminal says itself how wide it is.
    width = None if stream.isatty() else int(os.environ.get("COLUMNS", "110"))
    console = _console(stderr=stream is sys.stderr, width=width)
    # Captured, because rich ends the process itself, with 1, where the reader of a pipe has gone.
    with console.capture() as captured:
        for item in items:
            # Lines of text are left whole, so that a command or a file can be copied from them.
            console.print(item, soft_wrap=isinstance(item, str | Text))
    print(captured.get(), end="", file=stream, flush=True)


@contextmanager
def _bar(description: str, total: int | None, unit: str, done: int) -> Iterator[Task]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,.0f}/{task.fields[of]} " + unit),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[shown]}", markup=False),
    )
    of = "?" if total is None else f"{total:,}"
    with Progress(*columns, console=_console(stderr=True), transient=False) as progress:
        identity = progress.add_task(
            one_line(description), total=total, completed=done, of=of, speed="", shown=""
        )

        class Bar:
            def advance(self, amount: int = 1, **fields: float | str) -> None:
                progress.advance(identity, amount)
                speed = progress.tasks[identity].speed
                progress.update(
                    identity,
                    speed=f"{_rate(speed)} {unit}/s" if speed else "",
                    shown=_fields(fields) if fields else progress.tasks[identity].fields["shown"],
                )

            def expect(self, total: int) -> None:
                progress.update(identity, total=total, of=_guess(total, progress.tasks[identity].completed))

        yield Bar()


class _Lines:
    """Progress where no terminal is: a line at the start, every few seconds, and at the end."""

    def __init__(self, out: Output, description: str, total: int | None, unit: str, done: int) -> None:
        self._out, self._description, self._total, self._unit = out, description, total, unit
        self._before = self._done = self._printed = done
        self._shown = ""
        self._of = f"/{total:,}" if total is not None else ""
        self._start = self._last = time.monotonic()
        begun = f"{done:,}{self._of}" if done else self._of.removeprefix("/")
        out.note(f"{description}: {begun} {unit}" if total is not None else f"{description} ...")

    def advance(self, amount: int = 1, **fields: float | str) -> None:
        self._done += amount
        self._shown = _fields(fields) if fields else self._shown
        now = time.monotonic()
        if now - self._last >= LINE_EVERY_SECONDS:
            self._last = now
            self._print(now)

    def expect(self, total: int) -> None:
        self._total = total
        self._of = f"/{_guess(total, self._done)}"

    def close(self) -> None:
        if self._done > self._printed:
            self._print(time.monotonic())

    def _print(self, now: float) -> None:
        self._printed = self._done
        rate = (self._done - self._before) / max(now - self._start, 1e-9)
        parts = [
            f"{self._description}: {self._done:,}{self._of} {self._unit}",
            f"{_rate(rate)} {self._unit}/s",
        ]
        if self._total is not None and self._before < self._done < self._total:
            parts.append(f"eta {(self._total - self._done) / rate:,.0f} s")
        self._out.note(", ".join([*parts, self._shown] if self._shown else parts))


def _fields(fields: dict[str, float | str]) -> str:
    return one_line(" ".join(f"{name} {_field(value)}" for name, value in fields.items()))


def _field(value: float | str) -> str:
    if isinstance(value, float) and abs(value) < 1000:
        return f"{value:.4g}"
    return value if isinstance(value, str) else f"{value:,.0f}"


def _guess(total: int, done: float) -> str:
    """A guess without the digits that it does not know; no guess any more where all is done."""
    return f"{total:,}" if total == done else f"~{round(total, min(3 - len(str(total)), 0)):,}"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.3g}"
