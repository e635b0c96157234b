"""A plot in the terminal: lines of dots, eight to a character (Unicode's braille patterns).

Where there is no colour to tell several lines apart, each is drawn in a letter of its own.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from catlipctl.reports.style import PALETTE, thousands

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

    from catlipctl.reports.curves import Points

HEIGHT = 9
WIDEST = 100
MARGIN = 10
BLANK = 0x2800
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bit of a dot by its column and row in a character, from the top."""


class Line(NamedTuple):
    """A named line: points from left to right."""

    name: str
    points: "Points"


class Plot:
    """Lines in one frame, as wide as the terminal. A line's colour and letter are those of its number."""

    def __init__(self, title: str, lines: Sequence[Line], *, height: int = HEIGHT) -> None:
        self._title, self._lines, self._height = title, lines, height

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Text]":
        from rich.text import Text

        width = min(options.max_width, WIDEST) - MARGIN - 2
        points = [point for line in self._lines for point in line.points]
        left, right = _ends([x for x, _ in points])
        low, high = _ends([y for _, y in points])
        letters = console.color_system is None and len(self._lines) > 1
        cells = self._cells(max(width, 8), (left, low), (right, high), letters=letters)
        yield Text(f"{'':{MARGIN}} {self._title}", style="bold")
        for row, line in enumerate(cells):
            label = {0: f"{high:.4g}", self._height - 1: f"{low:.4g}"}.get(row, "")
            shown = Text(f"{label:>{MARGIN}} ")
            for glyph, number in line:
                shown.append(glyph, style=colour(number) if number is not None else "")
            yield shown
        ends = thousands(left), thousands(right)
        room = max(width, 8) - len(ends[0])
        yield Text(f"{'':{MARGIN}} {ends[0]}{ends[1]:>{room}}", style="dim")

    def _cells(
        self, width: int, lowest: tuple[float, float], highest: tuple[float, float], *, letters: bool
    ) -> "list[list[tuple[str, int | None]]]":
        """Rows of characters, each with the number of the line that was drawn there last."""
        dots = [[0] * width for _ in range(self._height)]
        owner: list[list[int | None]] = [[None] * width for _ in range(self._height)]
        for number, line in enumerate(self._lines):
            for x, y in _path(line.points, lowest, highest, (2 * width - 1, 4 * self._height - 1)):
                row, column = (4 * self._height - 1 - y) // 4, x // 2
                dots[row][column] |= DOTS[x % 2][(4 * self._height - 1 - y) % 4]
                owner[row][column] = number
        return [
            [
                (letter(of) if letters and of is not None else chr(BLANK + bits) if bits else " ", of)
                for bits, of in zip(dots[row], owner[row], strict=True)
            ]
            for row in range(self._height)
        ]


def legend(names: Sequence[str]) -> "Text":
    """Which line is whose."""
    from rich.text import Text

    shown = Text(" " * MARGIN)
    for number, name in enumerate(names):
        shown.append(f" {letter(number)} ", style=f"bold {colour(number)}").append(f"{name} ")
    return shown


def colour(number: int) -> str:
    """Of the line of that number."""
    return PALETTE[number % len(PALETTE)]


def letter(number: int) -> str:
    """Of the line of that number, where there are no colours."""
    return "abcdefghijklmnopqrstuvwxyz"[number % 26]


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - abs(low) / 10 - 1e-9, high + abs(high) / 10 + 1e-9)


def _path(
    points: "Points", lowest: tuple[float, float], highest: tuple[float, float], most: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """The dots of a line through the points, both axes from 0 to `most`."""

    def placed(value: float, axis: int) -> int:
        return round((value - lowest[axis]) / (highest[axis] - lowest[axis]) * most[axis])

    dots = [(placed(x, 0), placed(y, 1)) for x, y in points]
    yield from dots[:1]
    for (x, y), (next_x, next_y) in pairwise(dots):
        steps = max(abs(next_x - x), abs(next_y - y))
        for step in range(1, steps + 1):
            yield x + round(step * (next_x - x) / steps), y + round(step * (next_y - y) / steps)
