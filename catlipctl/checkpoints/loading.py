"""Reading a checkpoint, ours or a door to what others trained; nothing is unpickled."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from torch import Tensor, nn

from catlipctl import models  # registers the released CatLIP ViT with timm
from catlipctl import vocabulary as vocabularies
from catlipctl.checkpoints import manifest
from catlipctl.checkpoints.finding import resolve
from catlipctl.checkpoints.writing import CONFIG, STATE_JSON, STATE_TENSORS, VOCABULARY, WEIGHTS
from catlipctl.errors import CheckpointError, MachineError
from catlipctl.vocabulary import Vocabulary

TIMM = "timm:"
_LATER = ("hf-hub:", "open_clip:", "corenet:", "superclass:")


@dataclass(frozen=True)
class Checkpoint:
    """A model ready for use, and what is known of it.

    path: its directory; None where it came through a door (`timm:NAME`). model: in eval mode, on the CPU.
    config: what its writer said of it (objective, step, recipe, ...). label_names: one a class of the head.
    """

    path: Path | None
    model: nn.Module
    vocabulary: Vocabulary | None = None
    config: dict[str, Any] = field(default_factory=dict)
    label_names: list[str] | None = None
    label_descriptions: dict[str, str] = field(default_factory=dict)


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
    manifest.check(directory, (STATE_TENSORS, STATE_JSON))
    return _tensors(directory / STATE_TENSORS), manifest.read_json(directory / STATE_JSON)


def _from_directory(directory: Path) -> Checkpoint:
    listed = manifest.read(directory).files
    has_vocabulary = VOCABULARY in listed
    manifest.check(directory, (WEIGHTS, CONFIG, *([VOCABULARY] if has_vocabulary else [])))
    config = manifest.read_json(directory / CONFIG)
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
        model=model.eval(),
        vocabulary=vocabularies.load(directory / VOCABULARY) if has_vocabulary else None,
        config=about,
        label_names=config.get("label_names"),
        label_descriptions=config.get("label_descriptions") or {},
    )


def _from_timm(name: str) -> Checkpoint:
    try:
        model = timm.create_model(name, pretrained=True)
    except (RuntimeError, FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"timm:{name} cannot be loaded: {error}",
            "see timm.list_pretrained() for the names that have weights",
        ) from error
    except Exception as error:  # huggingface_hub, requests and httpx each raise their own
        raise MachineError(
            f"the weights of timm:{name} could not be fetched: {error or type(error).__name__}",
            "check the network, or save the model to a folder elsewhere and name it timm:local-dir:FOLDER",
        ) from error
    models.head(model)
    names, descriptions = _timm_labels(model)
    return Checkpoint(path=None, model=model.eval(), label_names=names, label_descriptions=descriptions)


def _timm_labels(model: nn.Module) -> tuple[list[str] | None, dict[str, str]]:
    config: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    if config.get("label_names"):
        return list(config["label_names"]), config.get("label_descriptions") or {}
    if subset := infer_imagenet_subset(model):
        imagenet = ImageNetInfo(subset)
        names = imagenet.label_names()
        return names, {name: imagenet.label_name_to_description(name) for name in names}
    return None, {}


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}", "name another checkpoint") from error
