"""The one directory format that every command reads and writes.

    step-00001000/
      model.safetensors   the tower and its head as one should use them
      config.json         what timm's `local-dir:` loader needs, and a `catlipctl` section beside it
      open_clip_*         both towers, where there is one of texts and open_clip can make the other
      vocabulary.json     where the head's classes are a vocabulary
      state/              what resuming needs: safetensors and JSON; sharded, a file of each process
      manifest.json       size and SHA-256 of each file; written last

A directory without a manifest is not a checkpoint. Nothing is pickled.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catlipctl.checkpoints.checkpoint import Checkpoint
    from catlipctl.checkpoints.directory import (
        MULTI_LABEL,
        OPEN_CLIP_CONFIG,
        OPEN_CLIP_WEIGHTS,
        SINGLE_LABEL,
        NewestRun,
        ProblemType,
        Verification,
        latest,
        newest_run,
        resolve,
        run_of,
        verify,
    )
    from catlipctl.checkpoints.exporters.exported import Exported
    from catlipctl.checkpoints.exporters.onnx import export_onnx
    from catlipctl.checkpoints.exporters.timm import export_timm
    from catlipctl.checkpoints.importing import Imported, import_checkpoint
    from catlipctl.checkpoints.loading import Inspection, inspect, load, read_state
    from catlipctl.checkpoints.open_clip import open_clip_files
    from catlipctl.checkpoints.state import Gathered, State, gather
    from catlipctl.checkpoints.writing import contents, write, write_step

__all__ = [
    "MULTI_LABEL",
    "OPEN_CLIP_CONFIG",
    "OPEN_CLIP_WEIGHTS",
    "SINGLE_LABEL",
    "Checkpoint",
    "Exported",
    "Gathered",
    "Imported",
    "Inspection",
    "NewestRun",
    "ProblemType",
    "State",
    "Verification",
    "contents",
    "export_onnx",
    "export_timm",
    "gather",
    "import_checkpoint",
    "inspect",
    "latest",
    "load",
    "newest_run",
    "open_clip_files",
    "read_state",
    "resolve",
    "run_of",
    "verify",
    "write",
    "write_step",
]

# Loaded when first asked for: who only looks for a run needs neither torch nor timm.
_MODULES = {
    "Checkpoint": "checkpoint",
    "Exported": "exporters.exported",
    "Gathered": "state",
    "Imported": "importing",
    "Inspection": "loading",
    "MULTI_LABEL": "directory",
    "NewestRun": "directory",
    "ProblemType": "directory",
    "SINGLE_LABEL": "directory",
    "Verification": "directory",
    "State": "state",
    "contents": "writing",
    "export_onnx": "exporters.onnx",
    "export_timm": "exporters.timm",
    "gather": "state",
    "import_checkpoint": "importing",
    "inspect": "loading",
    "latest": "directory",
    "load": "loading",
    "newest_run": "directory",
    "OPEN_CLIP_CONFIG": "directory",
    "OPEN_CLIP_WEIGHTS": "directory",
    "open_clip_files": "open_clip",
    "read_state": "loading",
    "resolve": "directory",
    "run_of": "directory",
    "verify": "directory",
    "write": "writing",
    "write_step": "writing",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
