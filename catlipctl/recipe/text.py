"""Recipes as text: those that ship, by name, and any as YAML that is read safely and written."""

import difflib
import itertools
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from catlipctl.errors import UsageError
from catlipctl.files import FileKind, refuse_taken, write_text
from catlipctl.results import Result

PACKAGE = Path(__file__).resolve().parents[1]
KIND = FileKind("a recipe", 2**20, UsageError, "a recipe is a YAML file of a few lines")
DEEPEST = 32
"""Levels of nesting; a recipe has four."""
LARGEST_NUMBER = 2**63
_COMMAND = re.compile(r"catlipctl (?P<command>pretrain|eval ft)\b")


class _Loader(yaml.SafeLoader):
    """`SafeLoader` without what no recipe needs: aliases and repeated keys, which would multiply or lose what
    is written, deep nesting, and values that cannot be printed.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark
        # A few lines of nested aliases unfold to gigabytes.
        if self.check_event(yaml.AliasEvent):
            raise _fault("aliases are not read in recipes", mark)
        if self._depth == DEEPEST:
            raise _fault(f"nested deeper than {DEEPEST} levels", mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep=deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # What the constructors raise: KeyError of `!!bool abc`, ValueError of 2026-13-45.
            kind = node.tag.rpartition(":")[2]
            raise _fault(f"{str(node.value)[:40]!r} is not a valid {kind}", node.start_mark) from error
        if isinstance(value, int) and abs(value) >= LARGEST_NUMBER:
            raise _fault("a number of this size is not read in recipes", node.start_mark)
        if isinstance(value, str) and not _is_text(value):
            raise _fault(f"{value[:40]!r} is not text", node.start_mark)
        return value

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise _fault(f"expected a mapping, but found {str(node.value)[:40]!r}", node.start_mark)
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str):
                raise _fault(f"{repr(name)[:40]} is not a key", key.start_mark)
            if name in seen:
                raise _fault(f"the key {name!r} stands twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


def _fault(problem: str, mark: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)


def _is_text(value: str) -> bool:
    """Whether it can name a file and be printed: no NUL, no lone surrogate but those of a file's name."""
    try:
        value.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def parse(text: str, origin: str) -> Any:
    """One YAML document as plain data; `origin` names it in the UsageError of a syntax fault."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        raise UsageError(
            f"{origin}: the character U+{error.character:04X} cannot stand in YAML", "mend the YAML"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UsageError(f"{origin}{where}: {problem}", "mend the YAML") from None


def read(path: Path) -> dict[str, Any]:
    """The mapping that a recipe file holds; an empty file is an empty mapping."""
    document = parse(KIND.read_text(path), str(path))
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise UsageError(f"{path} holds no mapping of keys to values", "see catlipctl recipe show demo")
    return document


def plain(recipe: BaseModel) -> dict[str, Any]:
    """A recipe with every value resolved, as plain data that JSON and YAML can hold."""
    return recipe.model_dump(mode="json", by_alias=True)


def dump(recipe: BaseModel) -> str:
    """A recipe with every value resolved, as YAML that `read` reads."""
    return yaml.safe_dump(plain(recipe), sort_keys=False, allow_unicode=True)


class Entry(BaseModel):
    """A shipped recipe and the first line of its header."""

    name: str
    description: str


class Shelf(Result):
    """The shipped recipes."""

    recipes: list[Entry]


class RecipeText(Result):
    """A recipe as it is written."""

    path: str
    text: str

    @property
    def command(self) -> str:
        """What runs it: `pretrain` or `eval ft`, whichever its header names first."""
        header = itertools.takewhile(lambda line: line.startswith("#"), self.text.splitlines())
        commands = (match["command"] for line in header if (match := _COMMAND.search(line)))
        return next(commands, "pretrain")


def folder() -> Path:
    """Where the shipped recipes lie: inside the package when installed, beside it in a checkout."""
    installed = PACKAGE / "recipes"
    return installed if installed.is_dir() else PACKAGE.parent / "recipes"


def names() -> list[str]:
    """The names of the shipped recipes, sorted."""
    return sorted(path.stem for path in folder().glob("*.yaml"))


def find(name_or_path: str | Path) -> Path:
    """The file of a shipped recipe, or the path itself; UsageError lists the names where there is neither."""
    text = str(name_or_path)
    if text in names():
        return folder() / f"{text}.yaml"
    path = Path(name_or_path)
    if path.exists() and not path.is_dir():
        return path
    nearest = difflib.get_close_matches(text, names(), n=1)
    guess = f"did you mean {nearest[0]}? " if nearest else ""
    raise UsageError(f"no recipe called {text}, and no such file", f"{guess}recipes: {', '.join(names())}")


def shelved() -> Shelf:
    """All shipped recipes."""
    return Shelf(recipes=[Entry(name=name, description=_description(find(name))) for name in names()])


def written(name_or_path: str) -> RecipeText:
    """A recipe with its comments."""
    path = find(name_or_path)
    return RecipeText(path=str(path), text=KIND.read_text(path))


def copied(name_or_path: str, target: Path | None = None) -> RecipeText:
    """Write a copy of a recipe to `target` (default: NAME.yaml here); UsageError where that exists."""
    source = written(name_or_path)
    if target is None:
        target = Path(Path(source.path).name)
    elif target.is_dir():
        target = target / Path(source.path).name
    refuse_taken(target)
    write_text(target, source.text)
    return RecipeText(path=str(target), text=source.text)


def _description(path: Path) -> str:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("#"):
                break
            if said := line.strip("# \n"):
                return said
    return ""
