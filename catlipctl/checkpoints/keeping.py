"""Which of a run's checkpoints stay, which one its pointer names, how one is taken away. Needs no torch."""

import os
import secrets
import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from catlipctl import files as atomic
from catlipctl.checkpoints.directory import (
    POINTER,
    STATE,
    STATE_JSON,
    complete,
    complete_steps,
    pointed,
    step_of,
)
from catlipctl.errors import CheckpointError


class Stays(BaseModel):
    """What `state.json` says to whoever takes checkpoints away."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    kept: bool = True


def is_kept(checkpoint: Path) -> bool:
    """Does it stay when the next is written? So does one that does not say."""
    try:
        return STATE.read_json(checkpoint / STATE_JSON, Stays).kept
    except CheckpointError:
        return True


def is_newest(directory: Path) -> bool:
    """Is it complete, and does its run's pointer name it: where a run resumes, and is stopped at once?"""
    return pointed(directory.parent.parent) == directory and complete(directory)


def point(directory: Path) -> None:
    """Make a checkpoint the one that its run's pointer `latest` names."""
    if pointed(directory.parent.parent) == directory:
        return
    atomic.write_text(directory.parent / POINTER, directory.name + "\n")


def discard(directory: Path) -> None:
    """Delete a checkpoint, first out of sight: after a kill the next `sweep` deletes the rest."""
    aside = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}.tmp")
    os.replace(directory, aside)
    shutil.rmtree(aside, ignore_errors=True)


def sweep(folder: Path, but: Path | None = None) -> None:
    """Delete what processes left that were killed while they wrote or deleted a checkpoint in `folder`."""
    for leftover in folder.glob(".step-*.tmp"):
        if leftover != but:
            shutil.rmtree(leftover, ignore_errors=True)


def prune(written: Path, keep_last: int | None, keep_every: int | None) -> None:
    """Delete the checkpoints of which the one just written takes the place; it is complete.

    keep_last: so many of those that are kept stay, and those of a multiple of `keep_every` steps besides.
    Which they are is asked of each, not remembered: a process may have been killed just before this.
    """
    whole = complete_steps(written.parent.parent)
    if written not in whole:  # a file system that is slow to show it: the next one does it
        return
    kept = [path for path in whole if is_kept(path)]
    # Those of later steps are of a run that was set back: they do not count, and are replaced one by one.
    counted = [path for path in whole[whole.index(written) :] if path in kept]
    surplus = [] if keep_last is None else counted[keep_last:]
    for path in whole:
        stays = path in kept and (path not in surplus or (keep_every and step_of(path) % keep_every == 0))
        if path != written and not stays:
            discard(path)
