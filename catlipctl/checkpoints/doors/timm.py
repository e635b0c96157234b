"""The door to timm's models, by name, on the Hugging Face Hub or in a folder; no pickle is read."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from timm.models._hub import download_from_hf
from torch import nn

from catlipctl import network
from catlipctl.checkpoints.checkpoint import Checkpoint
from catlipctl.checkpoints.config import KIND, Config
from catlipctl.checkpoints.directory import CONFIG, SINGLE_LABEL, WEIGHTS
from catlipctl.checkpoints.doors import HUB, LOCAL
from catlipctl.errors import CheckpointError
from catlipctl.models import TimmTower  # registers the released CatLIP ViT with timm


def load(name: str, weights: bool) -> Checkpoint:
    """The model of that name: one of timm's own, `hf-hub:ORG/NAME` or `local-dir:PATH`.

    weights: without, none are read or downloaded.
    Raises MachineError where the network fails, CheckpointError for a model that cannot be made and for
    weights that are a pickle alone.
    """
    hint = "check the network, or save the model to a folder elsewhere and name it timm:local-dir:FOLDER"
    fetched = nullcontext() if name.startswith(LOCAL) else network.hub(f"timm:{name}", hint)
    try:
        with fetched, _only_safetensors(name):
            config = _written_config(name)
            model = timm.create_model(name, pretrained=weights)
    except (RuntimeError, FileNotFoundError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(
            f"timm:{name} cannot be loaded: {error}",
            "see timm.list_pretrained() for the names that have weights",
        ) from error
    names, descriptions = _labels(model)
    tower = TimmTower(model.eval())
    about = {} if config is None else config.about()
    said = None if config is None else config.catlipctl.problem_type
    return Checkpoint(
        path=None,
        tower=tower,
        config=about,
        label_names=names,
        label_descriptions=descriptions,
        problem_type=said or SINGLE_LABEL,
        spelling=f"timm:{name}",
    )


def _written_config(name: str) -> Config | None:
    """config.json of a folder or a Hub repository that was opened; of it timm hands on its own part alone."""
    if name.startswith(LOCAL):
        return KIND.read_json(Path(name.removeprefix(LOCAL)) / CONFIG, Config)
    if name.startswith(HUB):
        return KIND.read_json(Path(download_from_hf(name.removeprefix(HUB), CONFIG)), Config)
    return None


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
            f"timm:{name} has only pickled weights ({there.name}), and catlipctl reads no pickles",
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


def _labels(model: nn.Module) -> tuple[list[str] | None, dict[str, str]]:
    config: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    if config.get("label_names"):
        return list(config["label_names"]), config.get("label_descriptions") or {}
    if subset := infer_imagenet_subset(model):
        imagenet = ImageNetInfo(subset)
        names = imagenet.label_names()
        return names, {name: imagenet.label_name_to_description(name) for name in names}
    return None, {}
