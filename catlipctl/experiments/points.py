"""The points of an experiment: recipes that differ in a few keys and the seed. Each becomes a run."""

import hashlib
import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from catlipctl import recipe as recipes
from catlipctl.errors import UsageError
from catlipctl.recipe import Loaded, Override
from catlipctl.recipe.text import parse
from catlipctl.settings.pretraining import PretrainRecipe

MOST = 1000
"""Points of a grid; more are a slip of the hand."""
LONGEST_NAME = 100
UNSAFE = re.compile(r"[^A-Za-z0-9._,=+-]+")


@dataclass(frozen=True)
class Point:
    """One run of an experiment.

    name: of its folder. loaded: its recipe. values: what tells it from the others, by recipe key.
    """

    name: str
    loaded: Loaded[PretrainRecipe]
    values: dict[str, Any]

    @property
    def recipe(self) -> PretrainRecipe:
        """What the run is trained by."""
        return self.loaded.value


class Axis(NamedTuple):
    """A recipe key and its values, as YAML reads them."""

    key: str
    values: list[Any]

    @classmethod
    def parse(cls, text: str) -> "Axis":
        """From `KEY=V1,V2,...`: the values are those of a YAML list, so `[0.1,1]` and `{samples: 5}` are one
        each. UsageError for anything else.
        """
        key, equals, listed = text.partition("=")
        values = parse(f"[{listed}]", text) if equals and key.strip() else None
        if not isinstance(values, list) or not values:
            raise UsageError(f"{text}: not of the form KEY=V1,V2,...", "vocabulary.threshold=10,50,100,500")
        return cls(key.strip(), values)


def grid(
    path: Path, axes: Sequence[Axis], overrides: Sequence[Override] = (), *, seeds: int = 1
) -> list[Point]:
    """The cross product of the axes, each with `seeds` seeds: the recipe's own, and those that follow it.

    overrides: for all points. UsageError for what the recipe's schema refuses, and for two equal points.
    """
    keys = [axis.key for axis in axes]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise UsageError(f"{twice[0]} is swept twice", f"name it once: {twice[0]}=V1,V2,...")
    if "seed" in keys and seeds > 1:
        raise UsageError("seed is swept, and --seeds is given too", "leave one of them out")
    first = recipes.load(PretrainRecipe, path, overrides).value.seed
    drawn = [] if "seed" in keys else [Axis("seed", list(range(first, first + seeds)))]
    if (count := math.prod(len(axis.values) for axis in (*axes, *drawn))) > MOST:
        raise UsageError(f"a grid of {count:,} points; {MOST:,} at most", "sweep fewer values")
    points: dict[str, Point] = {}
    for chosen in itertools.product(*(axis.values for axis in (*axes, *drawn))):
        swept = dict(zip([*keys, *(axis.key for axis in drawn)], chosen, strict=True))
        own = [Override(key, value, "sweep") for key, value in swept.items()]
        loaded = recipes.load(PretrainRecipe, path, [*overrides, *own])
        plain = recipes.plain(loaded.value)
        told = {key: _at(plain, key) for key in swept}
        point = Point(named(told), loaded, {key: told[key] for key in keys})
        if point.name in points:
            raise UsageError(f"two points are the same: {point.name}", "name each value once")
        points[point.name] = point
    return list(points.values())


def _at(plain: Any, key: str) -> Any:
    """The value at a dotted path, as the recipe resolves it: `1e-3` is 0.001."""
    for part in key.split("."):
        plain = plain[part]
    return plain


def named(values: dict[str, Any]) -> str:
    """`vocabulary.threshold=10,seed=0`; a hash stands for what no folder should be called."""
    return safe(",".join(f"{key}={v if isinstance(v, str) else json.dumps(v)}" for key, v in values.items()))


def safe(told: str) -> str:
    """A folder's name that tells as much; as it is where it can be one."""
    name = UNSAFE.sub("-", told)
    if name == told and len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME]}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
