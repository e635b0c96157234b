"""Tables in the one style that all commands share."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from catlipctl.printable import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def table(*columns: str, numbers: Collection[str] = (), title: str | None = None) -> "Table":
    """An empty table; the columns named in `numbers` stand at the right."""
    from rich.box import SIMPLE_HEAD

    title = title and one_line(title)
    made = _rows_of_one_line()(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return made


def losses(first: float | None, final: float | None) -> str | None:
    """The loss of a run's first and last logged step, as `metrics.jsonl` has them."""
    return None if first is None or final is None else f"{first:.4f} at first, {final:.4f} at last"


def facts(values: Mapping[str, object]) -> "Table":
    """A name and a value a line; those that are None or empty are left out."""
    made = _rows_of_one_line()(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(overflow="fold")
    made.add_column(overflow="fold")
    for name, value in values.items():
        if value not in (None, ""):
            made.add_row(name, str(value))
    return made


def _rows_of_one_line() -> "type[Table]":
    """A table in which no cell is taken for several: a line break in a caption is spelled."""
    from rich.table import Table

    class OneLine(Table):
        def add_row(self, *cells: "RenderableType | None", **options: Any) -> None:
            super().add_row(*(one_line(c) if isinstance(c, str) else c for c in cells), **options)

    return OneLine
