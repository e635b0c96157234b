"""Reading a checkpoint, ours or a door to what others trained, and summing it up; nothing is unpickled."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from torch import Tensor, nn

from catlipctl import vocabulary as vocabularies
from catlipctl.checkpoints.directory import (
    CONFIG,
    STATE_JSON,
    STATE_TENSORS,
    VOCABULARY,
    WEIGHTS,
    check,
    read_json,
    read_manifest,
    resolve,
)
from catlipctl.errors import CheckpointError, MachineError
from catlipctl.models import TimmTower, Tower  # registers the released CatLIP ViT with timm
from catlipctl.results import Result
from catlipctl.vocabulary import Vocabulary

TIMM = "timm:"
LABELS_SHOWN = 10
_LATER = ("hf-hub:", "open_clip:", "corenet:", "superclass:")


@dataclass(frozen=True)
class Checkpoint:
    """A tower ready for use, and what is known of it.

    path: its directory; None where it came through a door (`timm:NAME`). tower: in eval mode, on the CPU.
    config: what its writer said of it (objective, step, recipe, ...). label_names: one a class of the head.
    """

    path: Path | None
    tower: Tower
    vocabulary: Vocabulary | None = None
    config: dict[str, Any] = field(default_factory=dict)
    label_names: list[str] | None = None
    label_descriptions: dict[str, str] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        """The folder of its run, where what is made from it is kept; `runs/NAME` for one of timm's."""
        if self.path is None:
            return Path("runs") / self.tower.name
        parent = self.path.parent
        return parent.parent if parent.name in ("checkpoints", "transfer", "eval") else parent


class Inspection(Result):
    """A checkpoint's summary.

    parameters: of tower and head. head: its type. files: bytes by name; empty behind a door.
    """

    path: str | None
    architecture: str
    parameters: int
    head: str
    head_parameters: int
    features: int
    image_size: int
    classes: int
    labels: list[str]
    vocabulary: str | None
    about: dict[str, Any]
    resumable: bool
    files: dict[str, int]


def load(spec: str | Path) -> Checkpoint:
    """The checkpoint of a run, a `checkpoints/`, one `step-*` or `timm:NAME` (`timm:local-dir:PATH` too).

    Files are compared with the manifest before they are used. Only `timm:` may use the network, because the
    user named it. Raises CheckpointError for what is missing, half-written, damaged or of another kind.
    """
    text = str(spec)
    if text.startswith(TIMM):
        return _from_timm(text.removeprefix(TIMM))
    if text.startswith(_LATER) and not Path(text).exists():
        raise CheckpointError(
            f"checkpoints of the kind {text.split(':')[0]}: cannot be read",
            "name a run of catlipctl's, or timm:NAME (timm:hf-hub:ORG/NAME for a timm model on the Hub)",
        )
    return _from_directory(resolve(spec))


def read_state(directory: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What resuming needs, as `write` was given it: tensors and JSON, compared with the manifest."""
    if not (directory / STATE_JSON).exists():
        raise CheckpointError(
            f"{directory} holds no training state", "it can be used, but only a run's step-* can be resumed"
        )
    check(directory, (STATE_TENSORS, STATE_JSON))
    return _tensors(directory / STATE_TENSORS), read_json(directory / STATE_JSON)


def inspect(spec: str | Path) -> Inspection:
    """Load a checkpoint (so what is read of it is whole) and sum it up. Raises what `load` raises."""
    checkpoint = load(spec)
    tower, head = checkpoint.tower, checkpoint.tower.head
    files = read_manifest(checkpoint.path).files if checkpoint.path else {}
    names = checkpoint.label_names or []
    vocabulary = checkpoint.vocabulary
    return Inspection(
        path=str(checkpoint.path) if checkpoint.path else None,
        architecture=tower.name,
        parameters=sum(parameter.numel() for parameter in tower.module.parameters()),
        head=" + ".join(
            type(part).__name__ for part in (head if isinstance(head, nn.ModuleList) else [head])
        ),
        head_parameters=sum(parameter.numel() for parameter in head.parameters()),
        features=_width(tower),
        image_size=tower.preprocessing.size,
        classes=tower.num_classes,
        labels=[checkpoint.label_descriptions.get(name, name) for name in names[:LABELS_SHOWN]],
        vocabulary=None
        if vocabulary is None
        else f"{len(vocabulary):,} keys by {vocabulary.extractor} {vocabulary.extractor_version} "
        f"from {vocabulary.source}",
        about=checkpoint.config,
        resumable=any(name.startswith("state/") for name in files),
        files={name: entry.bytes for name, entry in files.items()},
    )


def _from_directory(directory: Path) -> Checkpoint:
    listed = read_manifest(directory).files
    has_vocabulary = VOCABULARY in listed
    check(directory, (WEIGHTS, CONFIG, *([VOCABULARY] if has_vocabulary else [])))
    config = read_json(directory / CONFIG)
    try:
        # timm reads its own part of config.json, so that it cannot understand it otherwise than we do.
        model = timm.create_model(f"local-dir:{directory}", pretrained=False)
        model.load_state_dict(_tensors(directory / WEIGHTS), strict=True)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{directory}: its model cannot be made with timm {timm.__version__}: {error}",
            "pip install --upgrade timm, or import what registers this architecture",
        ) from error
    about = {key: value for key, value in config.get("catlipctl", {}).items() if key != "format_version"}
    return Checkpoint(
        path=directory,
        tower=TimmTower(model.eval()),
        vocabulary=vocabularies.load(directory / VOCABULARY) if has_vocabulary else None,
        config=about,
        label_names=config.get("label_names"),
        label_descriptions=config.get("label_descriptions") or {},
    )


def _from_timm(name: str) -> Checkpoint:
    try:
        with _only_safetensors(name):
            model = timm.create_model(name, pretrained=True)
    except CheckpointError:
        raise
    except (RuntimeError, FileNotFoundError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(
            f"timm:{name} cannot be loaded: {error}",
            "see timm.list_pretrained() for the names that have weights",
        ) from error
    except Exception as error:  # huggingface_hub, requests and httpx each raise their own
        raise MachineError(
            f"the weights of timm:{name} could not be fetched: {error or type(error).__name__}",
            "check the network, or save the model to a folder elsewhere and name it timm:local-dir:FOLDER",
        ) from error
    names, descriptions = _timm_labels(model)
    tower = TimmTower(model.eval())
    return Checkpoint(path=None, tower=tower, label_names=names, label_descriptions=descriptions)


@contextmanager
def _only_safetensors(name: str) -> Iterator[None]:
    """Refuse pickles inside: timm takes one where a model has nothing else. Raises CheckpointError."""

    def refuse(file: object, *_: object, **__: object) -> None:
        there = Path(str(file))
        convert = (
            "import torch, safetensors.torch as to; to.save_file("
            f"torch.load({str(there)!r}, weights_only=True), {str(there.with_name(WEIGHTS))!r})"
        )
        raise CheckpointError(
            f"timm:{name} has its weights as a pickle alone ({there.name}), and none is read",
            f"if you trust it, convert it by {shlex.join(['python', '-c', convert])} "
            f"and name timm:local-dir:{there.parent}",
        )

    # The one way by which timm reads a pickle: which file it takes, in which order, is its own affair.
    load = torch.load
    torch.load = refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.load = load


def _timm_labels(model: nn.Module) -> tuple[list[str] | None, dict[str, str]]:
    config: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    if config.get("label_names"):
        return list(config["label_names"]), config.get("label_descriptions") or {}
    if subset := infer_imagenet_subset(model):
        imagenet = ImageNetInfo(subset)
        names = imagenet.label_names()
        return names, {name: imagenet.label_name_to_description(name) for name in names}
    return None, {}


@torch.inference_mode()
def _width(tower: Tower) -> int:
    """Numbers that the head is given of an image."""
    if isinstance(tower.head, nn.Linear):
        return tower.head.in_features
    size = tower.preprocessing.size
    return tower.features(torch.zeros(1, 3, size, size)).shape[1]


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}", "name another checkpoint") from error
