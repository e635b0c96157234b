"""Doors to what others trained: one file for each origin, found by how its spelling begins.

A door's file has `load(name, weights)`, which gives a Checkpoint of what stands after the prefix.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from catlipctl.checkpoints.checkpoint import Checkpoint

DOORS = {
    "timm:": "timm",
    "hf-hub:": "hf_hub",
    "open_clip:": "open_clip",
    "corenet:": "corenet",
    "superclass:": "superclass",
}
"""The prefix of each door, and its file here, loaded when it is first gone through."""
LOCAL = "local-dir:"
"""How timm and open_clip name a folder in the place of a model."""
HUB = "hf-hub:"
"""How both name a repository on the Hugging Face Hub."""


def door(spec: str | Path) -> "Callable[[bool], Checkpoint] | None":
    """What loads the checkpoint that `spec` names by a door, with its weights or without; None for a path."""
    found = _parts(spec)
    if found is None:
        return None
    prefix, name = found
    return partial(import_module(f"{__name__}.{DOORS[prefix]}").load, name)


def folder(spec: str | Path) -> Path | None:
    """The folder that `spec` names by the door to timm or to the Hub; None for all else."""
    prefix, name = _parts(spec) or ("", "")
    if prefix == "timm:" and name.startswith(LOCAL):
        return Path(name.removeprefix(LOCAL))
    return Path(name) if prefix == HUB and name and Path(name).is_dir() else None


def _parts(spec: str | Path) -> tuple[str, str] | None:
    """Prefix and name."""
    text = str(spec)
    return next(((prefix, text.removeprefix(prefix)) for prefix in DOORS if text.startswith(prefix)), None)
