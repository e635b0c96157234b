"""Where what is made from a checkpoint is kept: the folder of its run."""

from pathlib import Path

from catlipctl.checkpoints import Checkpoint
from catlipctl.transfer.classifier import architecture


def run_of(checkpoint: Checkpoint) -> Path:
    """The folder of the run that a checkpoint belongs to; `runs/NAME` for one of timm's."""
    if checkpoint.path is None:
        return Path("runs") / architecture(checkpoint)
    parent = checkpoint.path.parent
    return parent.parent if parent.name in ("checkpoints", "transfer", "eval") else parent
