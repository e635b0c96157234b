"""The one directory format that every command reads and writes.

    step-00001000/
      model.safetensors   the tower and its head as one should use them
      config.json         what timm's `local-dir:` loader needs, and a `catlipctl` section beside it
      vocabulary.json     where the head's classes are a vocabulary
      state/              what resuming needs: safetensors and JSON
      manifest.json       size and SHA-256 of each file; written last

A directory without a manifest is not a checkpoint. Nothing is pickled.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catlipctl.checkpoints.finding import NewestRun, latest, newest_run, resolve
    from catlipctl.checkpoints.inspection import Inspection, inspect
    from catlipctl.checkpoints.loading import Checkpoint, load, read_state
    from catlipctl.checkpoints.manifest import Verification, verify
    from catlipctl.checkpoints.writing import write, write_step

__all__ = [
    "Checkpoint",
    "Inspection",
    "NewestRun",
    "Verification",
    "inspect",
    "latest",
    "load",
    "newest_run",
    "read_state",
    "resolve",
    "verify",
    "write",
    "write_step",
]

# Loaded when first asked for: who only looks for a run needs neither torch nor timm.
_MODULES = {
    "Checkpoint": "loading",
    "Inspection": "inspection",
    "NewestRun": "finding",
    "Verification": "manifest",
    "inspect": "inspection",
    "latest": "finding",
    "load": "loading",
    "newest_run": "finding",
    "read_state": "loading",
    "resolve": "finding",
    "verify": "manifest",
    "write": "writing",
    "write_step": "writing",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
