"""Which column of a table is the image, which the captions, which the label: as asked for, else by name."""

from collections.abc import Mapping, Sequence

from catlipctl.errors import DataError

IMAGE_NAMES = (
    *("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes"),
    *("filepath", "file_name", "filename", "image_path", "path", "image_file_path"),
)
CAPTION_NAMES = ("caption", "captions", "title", "text", "txt", "alt_text", "description", "sentences")
LABEL_NAMES = ("label", "cls", "class", "category", "fine_label", "labels")


def choose(
    where: str, columns: Mapping[str, str], asked: Sequence[str], names: Sequence[str], option: str
) -> list[str]:
    """The columns asked for, else the first that bears one of the usual names (in any case); may be empty.

    columns: name -> type, as the message shows them.

    Raises:
        DataError: a column that was asked for is not there; the message lists those that are.
    """
    for name in asked:
        if name not in columns:
            raise DataError(
                f"{where} has no column {name!r}: it has {listed(columns)}",
                f"choose one of them with {option}",
            )
    if asked:
        return list(asked)
    lower = {column.lower(): column for column in reversed(list(columns))}
    return [lower[name] for name in names if name in lower][:1]


def require(where: str, columns: Mapping[str, str], found: Sequence[str], what: str, option: str) -> None:
    """Say which columns there are where none was found.

    Raises:
        DataError: `found` is empty.
    """
    if not found:
        raise DataError(
            f"{where} has no column that looks like {what}: it has {listed(columns)}",
            f"say which it is with {option} COLUMN",
        )


def listed(columns: Mapping[str, str]) -> str:
    """`caption (string), url (string)`, at most forty."""
    return ", ".join(f"{name} ({kind})" for name, kind in list(columns.items())[:40]) or "no columns"
