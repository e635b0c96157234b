"""Writing a checkpoint: all of it appears at once, under its final name, or nothing does."""

import errno
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from timm.models._hub import save_config_for_hf
from torch import Tensor, nn

from catlipctl import files as atomic
from catlipctl.checkpoints.directory import (
    CONFIG,
    MANIFEST,
    MULTI_LABEL,
    POINTER,
    SINGLE_LABEL,
    STATE_JSON,
    STATE_TENSORS,
    VERSION,
    VOCABULARY,
    WEIGHTS,
    Manifest,
    ProblemType,
    complete,
    file_entry,
    pointed,
    step_name,
)
from catlipctl.errors import CheckpointError
from catlipctl.models import Tower
from catlipctl.vocabulary import Vocabulary


def write(
    directory: Path,
    *,
    tower: Tower,
    config: Mapping[str, Any],
    problem_type: ProblemType | None = None,
    weights: Mapping[str, Tensor] | None = None,
    vocabulary: Vocabulary | None = None,
    label_names: Sequence[str] | None = None,
    label_descriptions: Mapping[str, str] | None = None,
    state: Mapping[str, Tensor] | None = None,
    state_json: Mapping[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
    tensors: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> Path:
    """Write a checkpoint that timm opens as `local-dir:<directory>`; return its path.

    weights: a state dict of the tower's module if not its own (the EMA).
    config: the `catlipctl` section of config.json (objective, step, ...), given back as `Checkpoint.config`.
    problem_type: what turns the head's logits to probabilities; left out, a vocabulary's classes are
    multi-label, others exclude each other.
    label_names: one a class; left out, the vocabulary's keys. label_descriptions: label name -> words.
    state, state_json: what resuming needs. files: further text files by name.
    tensors: further safetensors files by name.
    Raises UsageError where `directory` exists, CheckpointError where weights or names don't fit the model.
    """
    atomic.refuse_taken(directory)
    if problem_type is None:
        problem_type = SINGLE_LABEL if vocabulary is None else MULTI_LABEL
    stored = _stored(tower.module.state_dict() if weights is None else weights)
    _must_fit(tower.module, stored)
    if vocabulary is not None and label_names is None:
        label_names = vocabulary.keys
        label_descriptions = dict(zip(vocabulary.keys, vocabulary.descriptions(), strict=True))
    if label_names is not None and len(label_names) != tower.num_classes:
        raise CheckpointError(
            f"the head has {tower.num_classes} classes, but there are {len(label_names)} label names",
            "give one name a class",
        )
    with atomic.replacing(directory) as temporary:
        temporary.mkdir()
        save_tensors(stored, temporary / WEIGHTS)
        sections: dict[str, Any] = {
            "catlipctl": {"format_version": VERSION, "problem_type": problem_type, **config},
            # A model that was loaded carries the names of its old head.
            "pretrained_cfg": dict.fromkeys(("label_names", "label_descriptions")),
        }
        if label_names is not None:
            sections["label_names"] = list(label_names)
        if label_descriptions is not None:
            sections["label_descriptions"] = dict(label_descriptions)
        save_config_for_hf(tower.module, str(temporary / CONFIG), model_config=sections)
        if vocabulary is not None:
            vocabulary.save(temporary / VOCABULARY)
        if state is not None or state_json is not None:
            (temporary / STATE_JSON).parent.mkdir()
            save_tensors(_stored(state or {}), temporary / STATE_TENSORS)
            atomic.write_json(temporary / STATE_JSON, dict(state_json or {}))
        for name, text in (files or {}).items():
            atomic.write_text(temporary / name, text)
        for name, content in (tensors or {}).items():
            save_tensors(_stored(content), temporary / name)
        write_manifest(temporary)
    return directory


def write_step(run: Path, step: int, **parts: Any) -> Path:
    """Write `RUN/checkpoints/step-<step>` (`parts` as for `write`), then swap the pointer `latest` to it."""
    folder = run / "checkpoints"
    directory = folder / step_name(step)
    for leftover in folder.glob(".step-*.tmp"):  # of a process that was killed while it saved
        shutil.rmtree(leftover, ignore_errors=True)
    if pointed(run) == directory and complete(directory):
        return directory  # a run that resumes here and is stopped at once
    if directory.exists():  # written by a run that was then cut off, or set back, to before it
        discard(directory)
    write(directory, **parts)
    point(directory)
    return directory


def point(directory: Path) -> None:
    """Make a checkpoint the one that its run's pointer `latest` names."""
    if pointed(directory.parent.parent) == directory:
        return
    atomic.write_text(directory.parent / POINTER, directory.name + "\n")


def discard(directory: Path) -> None:
    """Delete a checkpoint, first out of sight: killed in the midst of it, `write_step` deletes the rest."""
    aside = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}.tmp")
    os.replace(directory, aside)
    shutil.rmtree(aside, ignore_errors=True)


def write_manifest(directory: Path) -> None:
    """Write the manifest of all that lies in `directory`, each file first brought to the disk."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    entries = {path.relative_to(directory).as_posix(): file_entry(path, sync=True) for path in paths}
    atomic.write_json(directory / MANIFEST, Manifest(files=entries).model_dump())


def _stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As safetensors takes them: on the CPU, contiguous; tied ones twice, since timm loads strictly."""
    stored: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        address = value.untyped_storage().data_ptr()
        if address in seen:
            value = value.clone()
        seen.add(address)
        stored[name] = value
    return stored


def _must_fit(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    expected = {name: value.shape for name, value in model.state_dict().items()}
    odd = sorted(expected.keys() ^ tensors.keys()) or [
        name for name, shape in expected.items() if tensors[name].shape != shape
    ]
    if odd:
        raise CheckpointError(
            f"the weights to be saved don't fit the model: {', '.join(odd[:3])}"
            + (f" and {len(odd) - 3} more" if len(odd) > 3 else ""),
            "give the state dict of this very model",
        )


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write safetensors, with the mode that the umask gives (safetensors 0.8 leaves them to their owner)."""
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(tensors, path, metadata={"format": "pt"})
        path.chmod(mode)
    except SafetensorError as error:
        if f"os error {errno.ENOSPC}" in str(error):  # not an OSError of its own
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
