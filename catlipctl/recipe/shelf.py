"""The recipes that ship with catlipctl, by name; anything else is a path."""

import difflib
from pathlib import Path

from pydantic import BaseModel

from catlipctl.errors import UsageError
from catlipctl.results import Result

PACKAGE = Path(__file__).resolve().parents[1]


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
    if path.is_file():
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
    return RecipeText(path=str(path), text=path.read_text(encoding="utf-8"))


def copied(name_or_path: str, target: Path | None = None) -> RecipeText:
    """Write a copy of a recipe to `target` (default: NAME.yaml here); UsageError where that exists."""
    source = written(name_or_path)
    if target is None:
        target = Path(Path(source.path).name)
    elif target.is_dir():
        target = target / Path(source.path).name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("x", encoding="utf-8") as stream:
            stream.write(source.text)
    except FileExistsError:
        raise UsageError(f"{target} exists", "name another file: catlipctl recipe copy NAME PATH") from None
    return RecipeText(path=str(target), text=source.text)


def _description(path: Path) -> str:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("#"):
                break
            if said := line.strip("# \n"):
                return said
    return ""
