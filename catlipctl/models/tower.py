"""A tower with its head: made from settings, and what every command asks of one."""

import difflib
from typing import Any

import timm
import torch
from pydantic import BaseModel, ConfigDict, Field
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from catlipctl.data.transform import Preprocessing
from catlipctl.errors import UsageError
from catlipctl.models import catlip_vit  # noqa: F401  (registers its names with timm)


class ModelSettings(BaseModel):
    """A recipe's `model:` section.

    name: a tower of timm's registry, or `vit_{base,large,huge}_catlip_224`. image_size: pixels a side.
    crop_pct: share of the resized image that evaluation crops; None: the tower's own.
    head_bias: where the classifier's bias starts. With V classes of which few are true, a start at
    -log(V / labels per image) spares the first steps, which otherwise only learn that (Lin et al. 2017, 3.3).
    model_args: further arguments of the tower's constructor (embed_dim, depth, drop_path_rate, ...).
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())

    name: str = "vit_base_catlip_224"
    image_size: int = Field(default=224, ge=16, le=4096)
    crop_pct: float | None = Field(default=None, gt=0, le=1)
    head_bias: float = 0.0
    model_args: dict[str, Any] = Field(default_factory=dict)


# What timm knows of the weights that it has for a name; a tower made here has none of them.
_NO_SOURCE: dict[str, None] = dict.fromkeys(
    (
        *("url", "file", "hf_hub_id", "hf_hub_filename", "source", "tag"),
        *("license", "description", "origin_url", "paper_name", "paper_ids", "notes"),
        *("label_offset", "label_names", "label_descriptions"),
        *("test_input_size", "test_crop_pct", "test_pool_size", "min_input_size", "pool_size"),
    )
)


def create(settings: ModelSettings, num_classes: int) -> nn.Module:
    """A freshly initialised timm tower with a linear head of `num_classes`; nothing is downloaded.

    Its `pretrained_cfg` states the image size and preprocessing asked for, so a checkpoint of it does too.
    Raises UsageError for an unknown name, or arguments and sizes that the tower does not take.
    """
    if ":" in settings.name or not timm.is_model(settings.name):
        close = difflib.get_close_matches(settings.name, timm.list_models(), n=3)
        raise UsageError(
            f"model.name: timm has no tower named {settings.name!r}",
            f"did you mean {', '.join(close)}?" if close else "see timm.list_models() for the names",
        )
    # timm hands the input size of this overlay to the constructors of all towers that fix theirs.
    overlay: dict[str, Any] = {**_NO_SOURCE, "input_size": (3, settings.image_size, settings.image_size)}
    if settings.crop_pct is not None:
        overlay["crop_pct"] = settings.crop_pct
    arguments = {**settings.model_args, "num_classes": num_classes}
    try:
        model: Any = timm.create_model(
            settings.name, pretrained=False, pretrained_cfg_overlay=overlay, **arguments
        )
        native = getattr(getattr(model, "patch_embed", None), "img_size", None)
        if native is not None and tuple(native) != overlay["input_size"][1:]:
            model.set_input_size(
                img_size=overlay["input_size"][1:]
            )  # EVA's configs don't say that it is fixed
    except Exception as error:  # timm's constructors raise KeyError, ZeroDivisionError, ...
        raise UsageError(
            f"model: {settings.name} at {settings.image_size} px cannot be made: {error}",
            "change model.image_size or model.model_args",
        ) from error
    classifier = head(model)
    if classifier.bias is not None:
        nn.init.constant_(classifier.bias, settings.head_bias)
    return model


def head(model: nn.Module) -> nn.Linear:
    """The classifier: weight `[V, D]`, bias `[V]`; UsageError where the tower has none that is linear."""
    tower: Any = model
    classifier = tower.get_classifier()
    if not isinstance(classifier, nn.Linear):
        name = tower.pretrained_cfg["architecture"]
        raise UsageError(
            f"{name} has no linear classifier (it has {type(classifier).__name__})", "choose another tower"
        )
    return classifier


def features(model: nn.Module, images: Tensor) -> Tensor:
    """What the head is given, `[B, D]`, of images `[B, 3, H, W]`: pooled, normed where the tower does so."""
    tower: Any = model
    return torch.flatten(tower.forward_head(tower.forward_features(images), pre_logits=True), 1)


def preprocessing(model: nn.Module) -> Preprocessing:
    """How images must be prepared for this tower, from the timm data config it carries."""
    config = resolve_model_data_config(model)
    return Preprocessing(
        size=config["input_size"][-1],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
        crop_pct=config["crop_pct"],
    )
