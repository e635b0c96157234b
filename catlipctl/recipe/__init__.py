"""Recipes over any pydantic class: YAML files found by name, overrides, and where each value came from."""

from catlipctl.recipe.loading import Loaded, Override, load
from catlipctl.recipe.shelf import copied, find, names, shelved, written
from catlipctl.recipe.text import dump, read

__all__ = ["Loaded", "Override", "copied", "dump", "find", "load", "names", "read", "shelved", "written"]
