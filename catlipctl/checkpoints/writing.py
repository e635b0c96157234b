"""Writing a checkpoint: all of it appears at once, under its final name, or nothing does."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from timm.models._hub import save_config_for_hf
from torch import Tensor, nn

from catlipctl import files as atomic
from catlipctl.checkpoints.directory import (
    CONFIG,
    MULTI_LABEL,
    SINGLE_LABEL,
    STATE_JSON,
    STATE_TENSORS,
    VERSION,
    VOCABULARY,
    WEIGHTS,
    ProblemType,
    file_entry,
    step_name,
)
from catlipctl.checkpoints.keeping import discard, is_newest, point, sweep
from catlipctl.checkpoints.storing import Kept, finish, header, store
from catlipctl.errors import CheckpointError
from catlipctl.files import as_json, to_disk
from catlipctl.models import Tower
from catlipctl.vocabulary import Vocabulary

KIND_OF = {
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float32: "F32",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""safetensors' names of torch's types."""

Content = Mapping[str, Callable[[], str] | Mapping[str, Tensor]]
"""A checkpoint's files by name: what makes a text, or the tensors of a safetensors file."""


def contents(
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
) -> Content:
    """The files of a checkpoint that timm opens as `local-dir:DIRECTORY`; nothing is copied.

    weights: a state dict of the tower's module if not its own (the EMA).
    config: the `catlipctl` section of config.json (objective, step, ...), given back as `Checkpoint.config`.
    problem_type: what turns the head's logits to probabilities; left out, a vocabulary's classes are
    multi-label, others exclude each other.
    label_names: one a class; left out, the vocabulary's keys. label_descriptions: label name -> words.
    state, state_json: what resuming needs. files: further text files by name.
    tensors: further safetensors files by name.
    Raises CheckpointError where weights or names don't fit the model.
    """
    if problem_type is None:
        problem_type = SINGLE_LABEL if vocabulary is None else MULTI_LABEL
    stored = dict(tower.module.state_dict() if weights is None else weights)
    _must_fit(tower.module, stored)
    names = vocabulary.keys if vocabulary is not None and label_names is None else label_names
    if names is not None and len(names) != tower.num_classes:
        raise CheckpointError(
            f"the head has {tower.num_classes} classes, but there are {len(names)} label names",
            "give one name a class",
        )

    def configuration() -> str:
        words = label_descriptions
        if vocabulary is not None and label_names is None:
            words = dict(zip(vocabulary.keys, vocabulary.descriptions(), strict=True))
        section = {"format_version": VERSION, "problem_type": problem_type, **config}
        return _configuration(tower, section, names, words)

    found: dict[str, Callable[[], str] | Mapping[str, Tensor]] = {WEIGHTS: stored, CONFIG: configuration}
    if vocabulary is not None:
        found[VOCABULARY] = vocabulary.to_text
    if state is not None or state_json is not None:
        found[STATE_TENSORS] = dict(state or {})
        found[STATE_JSON] = lambda: as_json(dict(state_json or {}))
    found.update({name: partial(str, text) for name, text in (files or {}).items()})
    found.update(tensors or {})
    return found


def _configuration(
    tower: Tower,
    section: Mapping[str, Any],
    names: Sequence[str] | None,
    words: Mapping[str, str] | None,
) -> str:
    """`config.json`, as timm's own function writes it, with our section beside."""
    sections: dict[str, Any] = {
        "catlipctl": dict(section),
        # A model that was loaded carries the names of its old head.
        "pretrained_cfg": dict.fromkeys(("label_names", "label_descriptions")),
    }
    if names is not None:
        sections["label_names"] = list(names)
    if words is not None:
        sections["label_descriptions"] = dict(words)
    with TemporaryDirectory() as folder:
        save_config_for_hf(tower.module, f"{folder}/{CONFIG}", model_config=sections)
        return Path(folder, CONFIG).read_text(encoding="utf-8")


def write(directory: Path, **parts: Any) -> Path:
    """Write a checkpoint of `parts` (as for `contents`), all at once; return its path.

    Raises UsageError where `directory` exists.
    """
    atomic.refuse_taken(directory)
    content = contents(**parts)
    with atomic.replacing(directory, sync=False) as temporary:
        entries = {}
        for name, file in content.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            entries[name] = store(path, tensor_file(file) if isinstance(file, Mapping) else [file().encode()])
        finish(temporary, entries)
    to_disk(directory.parent)
    return directory


def write_step(run: Path, step: int, **parts: Any) -> Path:
    """Write `RUN/checkpoints/step-<step>` (`parts` as for `contents`), then swap the pointer `latest` to it.

    The caller waits; a run under way saves by `training.saving` instead.
    """
    folder = run / "checkpoints"
    directory = folder / step_name(step)
    sweep(folder)
    if is_newest(directory):
        return directory
    if directory.exists():  # written by a run that was then cut off, or set back, to before it
        discard(directory)
    write(directory, **parts)
    point(directory)
    return directory


def write_manifest(directory: Path) -> None:
    """Write the manifest of all that lies in `directory`: each file is read."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    finish(directory, {path.relative_to(directory).as_posix(): file_entry(path) for path in paths})


def kept(tensor: Tensor) -> Kept:
    """What a safetensors file says of a tensor."""
    return Kept(KIND_OF[tensor.dtype], tuple(tensor.shape), tensor.numel() * tensor.element_size())


def tensor_file(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file. Tied tensors are stored twice, since timm loads strictly."""
    first, order = header({name: kept(tensor) for name, tensor in tensors.items()})
    yield first
    for name in order:
        yield plain_bytes(tensors[name])


def plain_bytes(tensor: Tensor) -> memoryview:
    """A tensor's numbers row by row, not copied where they lie so already."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


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


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file, with the mode that the umask gives."""
    store(path, tensor_file(tensors))
