"""Options that take several values, separated by commas."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from catlipctl.errors import UsageError

T = TypeVar("T")


def several(text: str | None, name: str, make: Callable[[str], T], example: str) -> list[T]:
    """The values of an option `name`, each once, in their order; none where it was not given.

    make: of a value's text; ValueError where it is none. example: of the whole option.
    Raises UsageError.
    """
    if text is None:
        return []
    values = [value.strip() for value in text.split(",")]
    try:
        if "" in values:
            raise ValueError
        return list(dict.fromkeys(make(value) for value in values))
    except ValueError as error:
        raise UsageError(
            f"{name} {text!r} is not a list of values", f"for example {name} {example}"
        ) from error


def one_of(names: Sequence[T]) -> Callable[[str], T]:
    """The name that a text is; ValueError where it is none of them."""

    def name(text: str) -> T:
        return names[names.index(text)]  # type: ignore[arg-type]

    return name


def whole(least: int, most: int) -> Callable[[str], int]:
    """Of a text the whole number within these bounds; ValueError where it is none."""

    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise ValueError
        return value

    return number
