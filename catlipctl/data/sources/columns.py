"""Which column of a table is the image, which the captions, which the label: as asked for, else by name."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import pyarrow as pa

from catlipctl.data.sample import Need
from catlipctl.errors import DataError

IMAGE_NAMES = (
    *("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes"),
    *("filepath", "file_name", "filename", "image_path", "path", "image_file_path"),
)
CAPTION_NAMES = ("caption", "captions", "title", "text", "txt", "alt_text", "description", "sentences")
LABEL_NAMES = ("label", "cls", "class", "category", "fine_label", "labels")


class Asked(TypedDict, total=False):
    """What the options say; need_image: False where captions alone are read."""

    image_key: str | None
    caption_keys: Sequence[str]
    label_key: str | None
    need: Need
    need_image: bool


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are the image, the captions and the label; need: what a row must have."""

    image: str | None
    captions: list[str]
    label: str | None
    need: Need

    @classmethod
    def of_schema(cls, where: str, schema: pa.Schema, **asked: Unpack[Asked]) -> "Columns":
        """Those of an Arrow table; an image may be a struct, bytes, or a path. Raises as `of_header`."""
        shown = {field.name: str(field.type) for field in schema}
        images = {name: kind for name, kind in shown.items() if is_image(schema.field(name).type)}
        strings = {name: kind for name, kind in shown.items() if is_text(schema.field(name).type)}
        structs = [name for name in images if pa.types.is_struct(schema.field(name).type)]
        return cls._chosen(where, "an image", shown, images, strings, structs[:1], **asked)

    @classmethod
    def of_header(cls, where: str, header: Sequence[str], **asked: Unpack[Asked]) -> "Columns":
        """Those of a listing.

        Raises:
            DataError: a column that was asked for, or that is needed, is not there, or its type cannot be it.
        """
        shown = dict.fromkeys(header, "text")
        return cls._chosen(where, "an image's path", shown, shown, shown, [], **asked)

    @classmethod
    def _chosen(
        cls,
        where: str,
        image_is: str,
        shown: Mapping[str, str],
        images: Mapping[str, str],
        strings: Mapping[str, str],
        surely: list[str],
        *,
        image_key: str | None = None,
        caption_keys: Sequence[str] = (),
        label_key: str | None = None,
        need: Need = "captions",
        need_image: bool = True,
    ) -> "Columns":
        """images, strings: the columns whose type can be that. surely: the image, whatever its name."""
        asked = [image_key] if image_key else []
        _refuse_unfit(where, shown, images, asked, "--image-key")
        _refuse_unfit(where, shown, strings, caption_keys, "--caption-key")
        image = _choose(where, shown, asked or surely, (), "--image-key") or _choose(
            where, images, [], IMAGE_NAMES, "--image-key"
        )
        if need_image:
            _require(where, shown, image, image_is, "--image-key")
        captions = _choose(
            where, shown if caption_keys else strings, caption_keys, CAPTION_NAMES, "--caption-key"
        )
        labels = _choose(where, shown, [label_key] if label_key else [], LABEL_NAMES, "--label-key")
        if need == "any":
            need = "captions" if captions else "labels"
        if need == "captions":
            _require(where, shown, captions, "captions", "--caption-key")
        if need == "labels":
            _require(where, shown, labels, "labels", "--label-key")
        return cls(image[0] if image else None, captions, labels[0] if labels else None, need)

    def all(self) -> list[str]:
        """The columns' names, each once."""
        return list(dict.fromkeys(name for name in (self.image, *self.captions, self.label) if name))


def _choose(
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
                f"{where} has no column {name!r}: it has {_listed(columns)}",
                f"choose one of them with {option}",
            )
    if asked:
        return list(asked)
    lower = {column.lower(): column for column in reversed(list(columns))}
    return [lower[name] for name in names if name in lower][:1]


def _refuse_unfit(
    where: str, columns: Mapping[str, str], fitting: Container[str], asked: Sequence[str], option: str
) -> None:
    """Say which column that was asked for is there, but of a type that cannot be it.

    Raises:
        DataError: there is one.
    """
    for name in asked:
        if name in columns and name not in fitting:
            raise DataError(
                f"{where}: column {name!r} is {columns[name]}, which {option} cannot take",
                f"choose another with {option}: it has {_listed(columns)}",
            )


def _require(where: str, columns: Mapping[str, str], found: Sequence[str], what: str, option: str) -> None:
    """Say which columns there are where none was found.

    Raises:
        DataError: `found` is empty.
    """
    if not found:
        raise DataError(
            f"{where} has no column that looks like {what}: it has {_listed(columns)}",
            f"say which it is with {option} COLUMN",
        )


def _listed(columns: Mapping[str, str]) -> str:
    """`caption (string), url (string)`, at most forty."""
    return ", ".join(f"{name} ({kind})" for name, kind in list(columns.items())[:40]) or "no columns"


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


def values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """A column's values as Python's; texts as bytes where they are no UTF-8."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        kind = column.type
        raw = pa.list_(pa.binary()) if is_list(kind) else pa.binary()
        return column.cast(raw if is_list(kind) or is_string(kind) else kind).to_pylist()
