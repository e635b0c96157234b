"""Where what is made from a checkpoint is kept: the folder of its run, and free names in it."""

from itertools import count
from pathlib import Path

from catlipctl.checkpoints import Checkpoint
from catlipctl.transfer.classifier import architecture


def run_of(checkpoint: Checkpoint) -> Path:
    """The folder of the run that a checkpoint belongs to; `runs/NAME` for one of timm's."""
    if checkpoint.path is None:
        return Path("runs") / architecture(checkpoint)
    parent = checkpoint.path.parent
    return parent.parent if parent.name in ("checkpoints", "transfer", "eval") else parent


def unused(path: Path) -> Path:
    """`path`, or where that exists the first free one of `path-2`, `path-3`, ..."""
    if not path.exists():
        return path
    return next(p for n in count(2) if not (p := path.with_name(f"{path.name}-{n}")).exists())


def numbered(path: Path) -> Path:
    """The first free one of `path-1`, `path-2`, ..."""
    return next(p for n in count(1) if not (p := path.with_name(f"{path.name}-{n}")).exists())
