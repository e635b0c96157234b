"""Which column of a table is the image, which the captions, which the label: as asked for, else by name."""

from collections.abc import Container, Mapping, Sequence

import pyarrow as pa

from catlipctl.data.sources.tar import Need
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


def refuse_unfit(
    where: str, columns: Mapping[str, str], fitting: Container[str], asked: Sequence[str], option: str
) -> None:
    """Say which column that was asked for is there, but of a type that cannot be it.

    Raises:
        DataError: there is one.
    """
    for name in asked:
        if name in columns and name not in fitting:
            raise DataError(
                f"{where}: column {name!r} is {columns[name]}, which cannot be it",
                f"choose another with {option}: it has {listed(columns)}",
            )


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


class Columns:
    """Which columns of a table are the image, the captions and the label (None: it has none).

    Raises:
        DataError: a column that was asked for, or that `need` needs, is not there, or its type cannot be it.
    """

    def __init__(
        self,
        where: str,
        schema: pa.Schema,
        *,
        image_key: str | None = None,
        caption_keys: Sequence[str] = (),
        label_key: str | None = None,
        need: Need = "captions",
    ) -> None:
        shown = {field.name: str(field.type) for field in schema}
        images = {name: kind for name, kind in shown.items() if is_image(schema.field(name).type)}
        strings = {name: kind for name, kind in shown.items() if is_text(schema.field(name).type)}
        asked = [image_key] if image_key else []
        refuse_unfit(where, shown, images, asked, "--image-key")
        refuse_unfit(where, shown, strings, caption_keys, "--caption-key")
        structs = [name for name in images if pa.types.is_struct(schema.field(name).type)]
        image = choose(where, shown, asked or structs[:1], (), "--image-key") or choose(
            where, images, [], IMAGE_NAMES, "--image-key"
        )
        require(where, shown, image, "an image", "--image-key")
        self.image = image[0]
        self.captions = choose(
            where, shown if caption_keys else strings, caption_keys, CAPTION_NAMES, "--caption-key"
        )
        labels = choose(where, shown, [label_key] if label_key else [], LABEL_NAMES, "--label-key")
        self.label = labels[0] if labels else None
        if need == "any":
            need = "captions" if self.captions else "labels"
        if need == "captions":
            require(where, shown, self.captions, "captions", "--caption-key")
        if need == "labels":
            require(where, shown, labels, "labels", "--label-key")
        self.need = need

    def all(self) -> list[str]:
        """The columns' names, each once."""
        return list(dict.fromkeys([self.image, *self.captions, *([self.label] if self.label else [])]))


def is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def is_string(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return "bytes" in [field.name for field in kind]
    return is_binary(kind) or is_string(kind)


def is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if is_list(kind) else kind
    return is_string(kind) or is_binary(kind)
