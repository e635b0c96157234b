"""The keys of a recipe as people read them: type, default, meaning and source, from its pydantic class."""

import difflib
import inspect
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from catlipctl.errors import UsageError
from catlipctl.recipe import schema
from catlipctl.recipe.text import Entry
from catlipctl.results import Result

PLAIN = {bool: "true or false", int: "integer", float: "number", str: "text", types.NoneType: "null"}
PAGE = """# Recipes and their keys

<!-- `catlipctl recipe keys --markdown > docs/recipes.md` makes this page. A test fails where it differs. -->

A recipe is a YAML file. `catlipctl recipe show NAME` prints one, `catlipctl recipe copy NAME` makes it yours.
A key is set in the file, by `--set optimiser.lr=0.001`, or by `CATLIPCTL_OPTIMISER__LR=0.001`. A flag wins
over the environment, the environment over the file, the file over the default.
`catlipctl pretrain RECIPE --dry-run` prints each value and where it came from.

| recipe | what it is |
|---|---|
{recipes}
"""


class Key(BaseModel):
    """One key. default: as YAML; `required` where there is none, empty for a section that is always there."""

    key: str
    type: str
    default: str
    meaning: str
    source: str


class Keys(Result):
    """The keys of some recipes, by what the recipe is of: `pretrain`, `eval ft`."""

    recipes: dict[str, list[Key]]


def keys(classes: Mapping[str, type[BaseModel]], prefix: str = "") -> Keys:
    """The keys of each class that begin with `prefix`; UsageError where none of any class does."""
    found = {name: list(described(cls)) for name, cls in classes.items()}
    chosen = {name: [key for key in all_ if key.key.startswith(prefix)] for name, all_ in found.items()}
    if not any(chosen.values()):
        known = {key.key for all_ in found.values() for key in all_}
        nearest = difflib.get_close_matches(prefix, sorted(known), n=1, cutoff=0.5)
        guess = f"did you mean {nearest[0]}?" if nearest else "catlipctl recipe keys lists all"
        raise UsageError(f"no key begins with {prefix!r}", guess)
    return Keys(recipes={name: rows for name, rows in chosen.items() if rows})


def described(cls: type[BaseModel], prefix: str = "", default: BaseModel | None = None) -> Iterator[Key]:
    """Every key of a class in its order, a section before what is in it. default: the section's own."""
    for name, field in cls.model_fields.items():
        path = prefix + (field.alias or name)
        value = field.get_default(call_default_factory=True) if default is None else getattr(default, name)
        required = default is None and field.is_required()
        section = schema.section(field.annotation)
        text = field.description or (inspect.getdoc(section) or "" if section else "")
        meaning, source = _split(text)
        if default is not None and value != field.get_default(call_default_factory=True):
            source = ""  # that of the class's own value, which this section does not have
        yield Key(
            key=path,
            type=_type(field.annotation, field.metadata),
            default="required" if required else "" if isinstance(value, BaseModel) else _yaml(value),
            meaning=meaning,
            source=source,
        )
        if section is not None:
            yield from described(section, f"{path}.", value if isinstance(value, BaseModel) else None)


def page(found: Keys, titles: Mapping[str, str], recipes: Sequence[Entry]) -> str:
    """The Markdown page of all keys and shipped recipes. titles: a heading for each of `found.recipes`."""
    shipped = "\n".join(f"| `{entry.name}` | {_cell(entry.description)} |" for entry in recipes)
    parts = [PAGE.format(recipes=shipped)]
    for name, rows in found.recipes.items():
        parts.append(
            f"## {titles[name]}\n\n| key | type | default | meaning | source |\n|---|---|---|---|---|"
        )
        for row in rows:
            default = f"`{row.default}`" if row.default not in ("", "required") else row.default
            cells = (f"`{row.key}`", _cell(row.type), default, _cell(row.meaning), _cell(row.source))
            parts.append("| " + " | ".join(cells) + " |")
        parts.append("")
    return "\n".join(parts)


def _split(text: str) -> tuple[str, str]:
    """A docstring's meaning, and its source: what stands in square brackets at its end."""
    text = " ".join(text.split())
    match = re.fullmatch(r"(.*?)\s*\[([^\]]+)\]", text)
    return (match[1], match[2]) if match else (text, "")


def _type(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """In words, with bounds: `integer, 1 to 1,024, or null`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], [*metadata, *annotation.__metadata__])
    if origin in (Union, types.UnionType):
        # Bounds of a field `X | None` are X's.
        return ", or ".join(_type(part, () if part is types.NoneType else metadata) for part in arguments)
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in arguments)
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is tuple:
        return f"{len(arguments)} of: " + "; ".join(dict.fromkeys(_type(part) for part in arguments))
    if schema.section(annotation) is not None:
        return "section"
    return ", ".join(filter(None, (PLAIN.get(annotation, "mapping"), _bounds(metadata))))


def _bounds(metadata: Sequence[Any]) -> str:
    flat = [
        inner for item in metadata for inner in (item.metadata if isinstance(item, FieldInfo) else [item])
    ]
    low: Any = next((item for item in flat if isinstance(item, Ge | Gt)), None)
    high: Any = next((item for item in flat if isinstance(item, Le | Lt)), None)
    if isinstance(low, Ge) and isinstance(high, Le):
        return f"{_number(low.ge)} to {_number(high.le)}"
    words = []
    if low is not None:
        words.append(f"above {_number(low.gt)}" if isinstance(low, Gt) else f"at least {_number(low.ge)}")
    if high is not None:
        words.append(f"below {_number(high.lt)}" if isinstance(high, Lt) else f"at most {_number(high.le)}")
    return ", ".join(words)


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.10g}"


def _yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_yaml(item) for item in value)}]"
    return str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
