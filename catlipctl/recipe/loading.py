"""A recipe from its layers: defaults, file, CATLIPCTL_* environment, flags; all faults are told together."""

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from catlipctl.errors import UsageError
from catlipctl.recipe import schema
from catlipctl.recipe.text import parse, read

T = TypeVar("T", bound=BaseModel)

PREFIX = "CATLIPCTL_"


class Override(NamedTuple):
    """One value from outside the recipe's file."""

    path: str
    value: Any
    origin: str

    @classmethod
    def parse(cls, text: str, origin: str = "--set") -> "Override":
        """From `key.of.it=value`, the value read as YAML."""
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise UsageError(f"{origin} {text}: not of the form key=value", f"{origin} optimiser.lr=0.001")
        return cls(path.strip(), parse(value, f"{origin} {text}"), origin)


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """A recipe, and for the dotted path of each of its values where it came from."""

    value: T
    origins: dict[str, str]


def load(
    cls: type[T],
    path: Path | None = None,
    overrides: Iterable[str | Override] = (),
    environment: Mapping[str, str] | None = None,
) -> Loaded[T]:
    """Build a `cls` from the file at `path`, the environment and `overrides`, the last one winning.

    `CATLIPCTL_OPTIMISER__LR=0.01` sets `optimiser.lr`. UsageError lists every fault with its dotted path,
    its origin and the nearest valid key. A key takes the place of those that its section declares exclusive
    with it (`schema.excluded`) in the layers below.
    """
    layers = _Layers(cls)
    if path is not None:
        layers.add([Override(key, value, str(path)) for key, value in read(path).items()])
    layers.add(list(_from_environment(cls, os.environ if environment is None else environment)))
    layers.add([Override.parse(item) if isinstance(item, str) else item for item in overrides])
    return layers.validated()


def _from_environment(cls: type[BaseModel], environment: Mapping[str, str]) -> Iterator[Override]:
    known = set(schema.paths(cls))
    for name, text in sorted(environment.items()):
        if not name.startswith(PREFIX):
            continue
        path = name.removeprefix(PREFIX).lower().replace("__", ".")
        # Variables that are no key (CATLIPCTL_DEBUG) mean something else; a dotted path can only be a key.
        if path in known or "." in path:
            yield Override(path, parse(text, name), name)


class _Layers:
    """Nested plain data to which overrides are applied one by one, with the origin of each value."""

    def __init__(self, cls: type[BaseModel]) -> None:
        self.cls = cls
        self.data: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.faults: list[str] = []

    def add(self, layer: list[Override]) -> None:
        for override in layer:
            if override.value is not None:
                for path in schema.excluded(self.cls, override.path):
                    self._remove(path)
        for override in layer:
            self._place(override)

    def _remove(self, path: str) -> None:
        *sections, last = path.split(".")
        inside: Any = self.data
        for name in sections:
            inside = inside.get(name) if isinstance(inside, dict) else None
        if isinstance(inside, dict):
            inside.pop(last, None)
        self.origins.pop(path, None)

    def _place(self, override: Override) -> None:
        *sections, last = override.path.split(".")
        inside = self.data
        for depth, name in enumerate(sections):
            found = inside.get(name)
            if found is None:
                found = inside[name] = {}
            if not isinstance(found, dict):
                at = ".".join(sections[: depth + 1])
                self.faults.append(
                    f"{override.path}: {at} is a value, not a section (from {override.origin})"
                )
                return
            inside = found
        # One override may stand in many recipes, and what follows it may change a key inside it.
        inside[last] = deepcopy(override.value)
        for path in [path for path in self.origins if _is_inside(path, override.path)]:
            del self.origins[path]
        for path in _flat(override.path, override.value):
            self.origins[path] = override.origin

    def validated(self) -> Loaded[Any]:
        try:
            value = self.cls.model_validate(self.data)
        except ValidationError as error:
            self.faults += self._faults_by_path(error)
        if self.faults:
            count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
            lines = "\n".join(f"  {fault}" for fault in self.faults)
            raise UsageError(
                f"the recipe has {count}\n{lines}",
                getattr(self.cls, "shown_by", "its keys: " + ", ".join(schema.keys(self.cls))),
            )
        origins = {path: self.origin(path) or "default" for path, _ in schema.leaves(value)}
        return Loaded(value, origins)

    def origin(self, path: str) -> str:
        """Where the value at `path` came from; a value that is a mapping or list may have several origins."""
        found = [name for at, name in self.origins.items() if _is_inside(at, path) or _is_inside(path, at)]
        return ", ".join(dict.fromkeys(found))

    def _faults_by_path(self, error: ValidationError) -> list[str]:
        said: dict[str, list[str]] = {}
        for fault in error.errors(include_url=False, include_input=True):
            path = schema.trim(self.cls, fault["loc"])
            said.setdefault(path, []).append(self._say(path, fault))
        lines = []
        for path, messages in said.items():
            origin = self.origin(path) if path else ""
            end = f" (from {origin})" if origin else ""
            lines.append(f"{path or 'recipe'}: {', or '.join(dict.fromkeys(messages))}{end}")
        return lines

    def _say(self, path: str, fault: Any) -> str:
        if fault["type"] == "extra_forbidden":
            nearest = _nearest(path, list(schema.paths(self.cls)))
            return f"unknown key; did you mean {nearest}?" if nearest else "unknown key"
        message = str(fault["msg"]).removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        if fault["type"] in ("missing", "value_error"):
            return message
        return f"{message}, not {fault['input']!r}"


def _nearest(path: str, known: list[str]) -> str | None:
    """The valid key most like `path`: in its own section, else one of the same last name, else any."""
    head, _, last = path.rpartition(".")
    beside = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == head}
    elsewhere = {key.rpartition(".")[2]: key for key in reversed(known)}
    for pool in (beside, elsewhere):
        found = difflib.get_close_matches(last, pool, n=1, cutoff=0.7)
        if found:
            return pool[found[0]]
    found = difflib.get_close_matches(path, known, n=1)
    return found[0] if found else None


def _is_inside(path: str, outer: str) -> bool:
    return path == outer or path.startswith(outer + ".")


def _flat(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(f"{path}.{key}", inner)
    else:
        yield path
