"""Reading a checkpoint, ours or a door to what others trained, and summing it up; nothing is unpickled."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import timm
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from catlipctl import vocabulary as vocabularies
from catlipctl.checkpoints import doors
from catlipctl.checkpoints.checkpoint import Checkpoint
from catlipctl.checkpoints.config import KIND, Config
from catlipctl.checkpoints.directory import (
    CONFIG,
    MANIFEST,
    MULTI_LABEL,
    OPEN_CLIP_CONFIG,
    OPEN_CLIP_WEIGHTS,
    SINGLE_LABEL,
    STATE,
    STATE_JSON,
    VOCABULARY,
    WEIGHTS,
    ProblemType,
    check,
    read_manifest,
    resolve,
)
from catlipctl.checkpoints.shards import SHARD
from catlipctl.checkpoints.state import State
from catlipctl.checkpoints.tensors import read_tensors
from catlipctl.errors import CheckpointError
from catlipctl.models import TimmTower, Tower  # registers the released CatLIP ViT with timm
from catlipctl.results import Result

if TYPE_CHECKING:
    from catlipctl.checkpoints.open_clip import BothTowers

Schema = TypeVar("Schema", bound=BaseModel)

LABELS_SHOWN = 10


class Inspection(Result):
    """A checkpoint's summary.

    parameters: of tower and head. head: its type. files: bytes by name; empty behind a door.
    text_tower: whether one belongs to it.
    shards: files that the training state is cut into; 0 where it is in one, or there is none.
    """

    path: str | None
    architecture: str
    parameters: int
    head: str
    head_parameters: int
    features: int
    image_size: int
    classes: int
    problem_type: ProblemType
    labels: list[str]
    vocabulary: str | None
    text_tower: bool
    about: dict[str, Any]
    resumable: bool
    shards: int
    files: dict[str, int]


def load(spec: str | Path, *, weights: bool = True) -> Checkpoint:
    """The checkpoint of a run, a `checkpoints/`, one `step-*`, or behind one of `doors.DOORS`.

    weights: without, the tower is as it was before any training, and none are downloaded: its architecture
    and configuration are enough.
    Files are compared with the manifest before they are used. Only a door may use the network, because the
    user named it. Raises MachineError where that fails, CheckpointError for what is missing, half-written,
    damaged or of another kind.
    """
    folder = doors.folder(spec)
    if folder is not None and (folder / MANIFEST).is_file():
        return _from_directory(folder, weights)  # one of ours says by a door too what it says by its path
    through = doors.door(spec)
    return _from_directory(resolve(spec), weights) if through is None else through(weights)


def read_state(directory: Path, schema: type[Schema]) -> tuple[State, Schema]:
    """What resuming needs, as `write` was given it: tensors, and JSON as the schema of who wrote it has it.

    Both are compared with the manifest, tensors as they are read.
    """
    if not (directory / STATE_JSON).exists():
        raise CheckpointError(
            f"{directory} holds no training state", "it can be used, but only a run's step-* can be resumed"
        )
    check(directory, [STATE_JSON])
    return State(directory), STATE.read_json(directory / STATE_JSON, schema)


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
        problem_type=checkpoint.problem_type,
        labels=[checkpoint.label_descriptions.get(name, name) for name in names[:LABELS_SHOWN]],
        vocabulary=None
        if vocabulary is None
        else f"{len(vocabulary):,} keys by {vocabulary.extractor} {vocabulary.extractor_version} "
        f"from {vocabulary.source}",
        text_tower=checkpoint.both_towers is not None,
        about=checkpoint.config,
        resumable=any(name.startswith("state/") for name in files),
        shards=sum(bool(SHARD.fullmatch(name)) for name in files),
        files={name: entry.bytes for name, entry in files.items()},
    )


def _from_directory(directory: Path, weights: bool) -> Checkpoint:
    has_vocabulary = VOCABULARY in read_manifest(directory).files
    check(directory, [CONFIG, *[WEIGHTS] * weights, *[VOCABULARY] * has_vocabulary])
    config = KIND.read_json(directory / CONFIG, Config)
    module = _module(directory, read_tensors(directory / WEIGHTS) if weights else None)
    tower = TimmTower(module.eval())
    if config.label_names is not None and len(config.label_names) != tower.num_classes:
        raise KIND.refused(
            directory / CONFIG,
            f"{len(config.label_names):,} label names for {tower.num_classes:,} outputs of the head",
        )
    thresholds = config.catlipctl.thresholds
    if thresholds is not None and len(thresholds) != tower.num_classes:
        raise KIND.refused(
            directory / CONFIG,
            f"{len(thresholds):,} thresholds for {tower.num_classes:,} outputs of the head",
        )
    return Checkpoint(
        path=directory,
        tower=tower,
        vocabulary=vocabularies.load(directory / VOCABULARY) if has_vocabulary else None,
        config=config.about(),
        label_names=config.label_names,
        label_descriptions=config.label_descriptions or {},
        problem_type=config.catlipctl.problem_type or (MULTI_LABEL if has_vocabulary else SINGLE_LABEL),
        thresholds=thresholds,
        both_towers=_both_towers(directory) if weights else None,
    )


def _both_towers(directory: Path) -> "BothTowers | None":
    """What lies there in open_clip's form; its weights are compared with the manifest when they are read."""
    if OPEN_CLIP_CONFIG not in read_manifest(directory).files:
        return None
    from catlipctl.checkpoints.open_clip import OPEN_CLIP, BothTowers, OpenClipConfig, other_text

    def tensors() -> dict[str, Tensor]:
        check(directory, [OPEN_CLIP_WEIGHTS])
        return read_tensors(directory / OPEN_CLIP_WEIGHTS)

    check(directory, [OPEN_CLIP_CONFIG])
    config = OPEN_CLIP.read_json(directory / OPEN_CLIP_CONFIG, OpenClipConfig)
    return None if other_text(config.model_cfg) else BothTowers(config, tensors)


def _module(directory: Path, weights: dict[str, Tensor] | None) -> nn.Module:
    """timm's model with these weights.

    timm reads its own part of config.json, so that it cannot understand it otherwise than we do. It is made
    without memory first: what the file claims to be is allocated only where the weights are that large.
    """
    try:
        with torch.device("meta"):
            claimed = timm.create_model(f"local-dir:{directory}", pretrained=False).state_dict()
        shapes = {name: value.shape for name, value in claimed.items()}
        given = {name: value.shape for name, value in weights.items()} if weights is not None else shapes
        odd = sorted(shapes.keys() ^ given.keys()) or [
            name for name, shape in shapes.items() if given[name] != shape
        ]
        if odd:
            raise ValueError(f"its weights are of another model: {', '.join(odd[:3])}")
        model = timm.create_model(f"local-dir:{directory}", pretrained=False)
        if weights is not None:
            model.load_state_dict(weights, strict=True)
        _ = TimmTower(model).preprocessing
    except Exception as error:  # timm's constructors raise KeyError, ZeroDivisionError, ...
        raise CheckpointError(
            f"{directory}: its model cannot be made with timm {timm.__version__}: {error}",
            "pip install --upgrade timm, or import what registers this architecture",
        ) from error
    return model


@torch.inference_mode()
def _width(tower: Tower) -> int:
    """Numbers that the head is given of an image."""
    if isinstance(tower.head, nn.Linear):
        return tower.head.in_features
    size = tower.preprocessing.size
    return tower.features(torch.zeros(1, 3, size, size)).shape[1]
