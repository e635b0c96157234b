"""What a pydantic class says about its keys: dotted paths, sections, and an instance's values by path."""

import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of what recipes are made of: no unknown key, no infinity; docstrings describe the keys."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )


def section(annotation: Any) -> type[BaseModel] | None:
    """The pydantic class that a field holds, itself or as `Section | None`; None for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType):
        sections = [found for part in get_args(annotation) if (found := section(part))]
        return sections[0] if len(sections) == 1 else None
    return None


def keys(cls: type[BaseModel]) -> dict[str, Any]:
    """A section's fields by the keys that a recipe spells: `from`, which no attribute can be called."""
    return {field.alias or name: field for name, field in cls.model_fields.items()}


def paths(cls: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted paths of all keys, sections included."""
    for name, field in keys(cls).items():
        yield prefix + name
        inside = section(field.annotation)
        if inside is not None:
            yield from paths(inside, f"{prefix}{name}.")


def excluded(cls: type[BaseModel], path: str) -> list[str]:
    """Keys that the one at `path` excludes: its section's class names them, `exclusive: ClassVar = (...)`."""
    *sections, last = path.split(".")
    inside: type[BaseModel] | None = cls
    for name in sections:
        field = keys(inside).get(name) if inside else None
        inside = section(field.annotation) if field else None
    exclusive: tuple[str, ...] = getattr(inside, "exclusive", ())
    return [".".join([*sections, key]) for key in exclusive if key != last] if last in exclusive else []


def leaves(value: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and value of everything in a recipe that is no section."""
    for name, field in type(value).model_fields.items():
        found, key = getattr(value, name), field.alias or name
        if isinstance(found, BaseModel):
            yield from leaves(found, f"{prefix}{key}.")
        else:
            yield prefix + key, found


def trim(cls: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """pydantic's error location as a dotted path: without the names it gives to the branches of a union."""
    parts: list[str] = []
    inside: type[BaseModel] | None = cls
    for part in location:
        if inside is None:
            if isinstance(part, int):
                parts.append(str(part))
            continue
        if str(part) == inside.__name__:
            continue
        parts.append(str(part))
        field = keys(inside).get(str(part))
        inside = section(field.annotation) if field else None
    return ".".join(parts)
