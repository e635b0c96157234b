"""The points of a grid: for each value of each key, and each seed, what changes in a recipe."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from catlipctl import recipe as recipes
from catlipctl.errors import UsageError
from catlipctl.recipe import Loaded, Override
from catlipctl.settings.pretraining import PretrainRecipe

MOST = 1000
"""Points of a grid; more are a slip of the hand."""
OPENING, CLOSING = "[{", "]}"


@dataclass(frozen=True)
class Axis:
    """One key of a recipe and the values that it takes, as they are typed."""

    key: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Axis":
        """From `key=value,value,...`; a comma inside brackets belongs to its value."""
        key, _, rest = text.partition("=")
        values, depth = [""], 0
        for letter in rest:
            depth += (letter in OPENING) - (letter in CLOSING)
            if letter == "," and depth == 0:
                values.append("")
            else:
                values[-1] += letter
        values = [value.strip() for value in values]
        if not key.strip() or not all(values):
            raise UsageError(f"{text}: not of the form key=value,value", "vocabulary.threshold=10,50,100")
        if len(set(values)) < len(values):
            raise UsageError(f"{text}: a value stands there twice", "name each once")
        return cls(key.strip(), tuple(values))


@dataclass(frozen=True)
class Point:
    """One run of a sweep: changes of the recipe by key, and the seed. name: its folder's."""

    name: str
    changes: dict[str, str]
    seed: int
    loaded: Loaded[PretrainRecipe]


def grid(
    axes: Sequence[Axis], recipe: Path, overrides: Sequence[Override] = (), seeds: int = 1
) -> list[Point]:
    """Every value of each key with every one of the others; the recipe's seed, and those that follow it.

    Raises UsageError for a recipe that one of the points makes wrong, and for too many points.
    """
    if len({axis.key for axis in axes}) < len(axes):
        raise UsageError("a key is swept twice", "name all its values at once: key=value,value")
    count = seeds
    for axis in axes:
        count *= len(axis.values)
    if count > MOST:
        raise UsageError(f"a grid of {count:,} points; {MOST:,} at most", "sweep fewer values")
    first = recipes.load(PretrainRecipe, recipe, overrides).value.seed
    points = []
    for values in itertools.product(*(axis.values for axis in axes)):
        changes = {axis.key: value for axis, value in zip(axes, values, strict=True)}
        swept = [Override.parse(f"{key}={value}", "sweep") for key, value in changes.items()]
        for seed in range(first, first + seeds):
            with_seed = [*overrides, *swept, Override("seed", seed, "--seeds")]
            loaded = recipes.load(PretrainRecipe, recipe, with_seed)
            points.append(Point(_name(changes, seed), changes, seed, loaded))
    return points


def _name(changes: dict[str, str], seed: int) -> str:
    """`threshold=10,seed=0`: the last part of each key, and what a file's name may hold of its value."""
    parts = {key.rsplit(".", 1)[-1]: value for key, value in changes.items()}
    if len(parts) < len(changes):
        parts = changes
    named = [f"{key}={value}" for key, value in {**parts, "seed": str(seed)}.items()]
    return "".join(c if c.isalnum() or c in "=.,_+-" else "_" for c in ",".join(named))
