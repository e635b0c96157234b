"""What a frontier compares: methods, each a recipe with its own changes; and whether the rest is the same."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from catlipctl import recipe as recipes
from catlipctl.errors import UsageError
from catlipctl.experiments.points import safe
from catlipctl.recipe import Loaded, Override
from catlipctl.recipe.schema import leaves
from catlipctl.settings.objectives import OBJECTIVES
from catlipctl.settings.pretraining import PretrainRecipe

NAME = re.compile(r"(?P<name>[^/=:]+)=(?P<rest>.+)", re.DOTALL)
CHANGE = re.compile(r":(?=[A-Za-z_][\w.]*=)")
TUNED = ("optimiser.lr", "optimiser.weight_decay")
THE_METHOD = ("objective", *OBJECTIVES, "vocabulary", "model.head_bias", *TUNED)
"""Keys and sections that make a method what it is, or that are tuned for each."""
FITTED = ("length", "schedule.warmup_steps")
"""What each budget decides, but for the budget that is a recipe's own length."""


class Differing(BaseModel):
    """A recipe key in which methods differ. expected: it makes the method, or is tuned.

    values: by method, as the recipe resolves them; None where a method has not the section.
    """

    key: str
    expected: bool
    values: dict[str, Any]


@dataclass(frozen=True)
class Method:
    """One of the recipes that are compared. name: of its folder and in tables. overrides: on the file."""

    name: str
    path: Path
    overrides: tuple[Override, ...]
    loaded: Loaded[PretrainRecipe]

    @classmethod
    def parse(cls, word: str, shared: Sequence[Override] = ()) -> "Method":
        """From `[NAME=]RECIPE[:KEY=VALUE...]`; values are YAML. shared: changes of all, before its own.

        Without a name it is called by the recipe's and its changes. Raises UsageError.
        """
        head, *changes = CHANGE.split(word)
        named = NAME.fullmatch(head)
        recipe = named["rest"] if named else head
        path = recipes.find(recipe)
        name = named["name"] if named else safe(",".join([path.stem, *changes]))
        if safe(name) != name or name.startswith("."):
            raise UsageError(f"{name!r} cannot name a method", "letters, digits, and any of . _ , = + -")
        overrides = (*shared, *(Override.parse(change, word) for change in changes))
        return cls(name, path, overrides, recipes.load(PretrainRecipe, path, overrides))

    @property
    def recipe(self) -> PretrainRecipe:
        """As it stands, before budgets and tuning."""
        return self.loaded.value

    def changed(self, *changes: Override) -> Loaded[PretrainRecipe]:
        """The recipe with more changes."""
        return recipes.load(PretrainRecipe, self.path, [*self.overrides, *changes])


def methods(words: Sequence[str], shared: Sequence[Override] = ()) -> list[Method]:
    """Those that the words name; UsageError where two have one name, or their pairs are not the same."""
    found = [Method.parse(word, shared) for word in words]
    names = [method.name for method in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"two methods are called {twice[0]}", f"name one: other={twice[0]}")
    for method in found[1:]:
        if method.recipe.data.sources != found[0].recipe.data.sources:
            raise UsageError(
                f"{method.name} and {found[0].name} are of other pairs: {method.recipe.data.sources} and "
                f"{found[0].recipe.data.sources}",
                "a comparison is on the same pairs: give them by --data",
            )
    return found


def differing(compared: Sequence[Method], *, fitted: bool) -> list[Differing]:
    """The keys in which the methods' recipes are not the same, those that were not to be expected first.

    fitted: budgets decide the length; else it differs with the recipes.
    """
    left_out = ("seed", *(FITTED if fitted else ()))
    plain = {method.name: dict(leaves(method.recipe)) for method in compared}
    found = []
    for key in dict.fromkeys(key for values in plain.values() for key in values):
        values = {name: of_one.get(key) for name, of_one in plain.items()}
        if any(value != next(iter(values.values())) for value in values.values()) and not _in(key, left_out):
            found.append(Differing(key=key, expected=_in(key, THE_METHOD), values=values))
    return sorted(found, key=lambda one: one.expected)


def _in(key: str, sections: Sequence[str]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)
