"""Recipes as YAML text: read safely (no tags, no aliases, no key twice), and written."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from catlipctl.errors import UsageError

LARGEST_FILE = 1 << 20
"""Bytes; a recipe is a page of text, so anything larger is another kind of file."""


class _Loader(yaml.SafeLoader):
    """`SafeLoader` that refuses what would be lost or multiplied silently."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        # A few lines of nested aliases unfold to gigabytes, and no recipe needs one.
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.constructor.ConstructorError(None, None, "aliases are not read in recipes", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str):
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} is no key", key.start_mark)
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {name!r} stands twice", key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


def parse(text: str, origin: str) -> Any:
    """One YAML document as plain data; `origin` names it in the UsageError of a syntax fault."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UsageError(f"{origin}{where}: {problem}", "mend the YAML") from None


def read(path: Path) -> dict[str, Any]:
    """The mapping that a recipe file holds; an empty file is an empty mapping."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UsageError(f"{path} is too large to be a recipe", "a recipe is a YAML file of a few lines")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not a text file", "a recipe is a YAML file") from None
    except OSError as error:
        raise UsageError(
            f"recipe {path} cannot be read: {error.strerror}", "see catlipctl recipe list"
        ) from None
    document = parse(text, str(path))
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise UsageError(f"{path} holds no mapping of keys to values", "see catlipctl recipe show demo")
    return document


def dump(recipe: BaseModel) -> str:
    """A recipe with every value resolved, as YAML that `read` reads."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
