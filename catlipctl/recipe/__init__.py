"""Recipes over any pydantic class: YAML files found by name, overrides, and where each value came from."""

from catlipctl.recipe.loading import Loaded, Override, load
from catlipctl.recipe.text import copied, dump, find, names, plain, read, shelved, written

__all__ = [
    "Loaded",
    "Override",
    "copied",
    "dump",
    "find",
    "load",
    "names",
    "plain",
    "read",
    "shelved",
    "written",
]
