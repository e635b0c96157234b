"""A timm tower made from a recipe's `model:` section; what it costs, and at which image sizes, known before.

Sizes and costs are found on PyTorch's meta device, where tensors have shapes and no storage.
"""

import copy
import difflib
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from catlipctl.data.batch import Shape
from catlipctl.errors import UsageError
from catlipctl.models import catlip_vit  # noqa: F401  (registers its names with timm)
from catlipctl.models.token_drop import TokenDrop, add_token_drop
from catlipctl.models.tower import TimmTower, Tower
from catlipctl.settings.models import ModelSettings


class Counts(NamedTuple):
    """parameters: of the tower with its head. flops: of one image's forward pass, by its shape.
    features: numbers that the head is given.

    A multiplication with its addition is two; what is neither convolution nor matrix product is left out.
    """

    parameters: int
    flops: dict[Shape, int]
    features: int


# What timm knows of the weights that it has for a name; a tower made here has none of them.
_NO_SOURCE: dict[str, None] = dict.fromkeys(
    (
        *("url", "file", "hf_hub_id", "hf_hub_filename", "source", "tag"),
        *("license", "description", "origin_url", "paper_name", "paper_ids", "notes"),
        *("label_offset", "label_names", "label_descriptions"),
        *("test_input_size", "test_crop_pct", "test_pool_size", "min_input_size", "pool_size"),
    )
)


def create(settings: ModelSettings, num_classes: int, sizes: Collection[int] = ()) -> TimmTower:
    """A freshly initialised timm tower with a head of `num_classes`; nothing is downloaded.

    sizes: pixels a side of all images that it must take, besides `settings.image_size`; it is saved as a
    tower of that size alone. Its `pretrained_cfg` states the preprocessing asked for, so its checkpoint does.
    Raises UsageError for an unknown name, or arguments and sizes that the tower does not take, before any
    weight is allocated.
    """
    resizing = _resizing(settings, num_classes, sizes)
    tower = TimmTower(_made(settings, num_classes, resizing))
    if resizing:
        # Weights are the same with and without; what is saved opens everywhere at its native size.
        tower.module._model_args.pop("dynamic_img_size")
        tower.module._traits["fixed_input_size"] = True
    if settings.head_bias or isinstance(tower.head, nn.Linear):
        start_bias(tower, 0.0 if isinstance(settings.head_bias, str) else settings.head_bias)
    return tower


def start_bias(tower: Tower, start: float | NDArray[np.float64]) -> None:
    """Have the classifier's bias start there: a number, or one a class, `[V]`; a head without any stays.

    UsageError where the head is not one linear layer.
    """
    bias = tower.linear_head().bias
    if bias is not None:
        with torch.no_grad():
            bias.copy_(torch.as_tensor(start).expand(bias.shape))


def check(settings: ModelSettings, sizes: Collection[int] = ()) -> None:
    """Raise what `create` would, at once and with nothing allocated."""
    module = _on_meta(settings, 2, _resizing(settings, 2, sizes))
    if settings.token_drop:
        add_token_drop(TimmTower(module), 0)


def counts(settings: ModelSettings, num_classes: int, sizes: Collection[int] = ()) -> Counts:
    """What a tower is made of and what it computes, at its own size and each of `sizes`.

    Nothing is allocated. Raises what `create` raises.
    """
    module = _on_meta(settings, num_classes, _resizing(settings, num_classes, sizes))
    every = {settings.image_size, *sizes}
    flops = _flops(module, every)
    if settings.token_drop:
        flops |= _flops(module, every, add_token_drop(TimmTower(module), 0), settings.token_drop)
    features: Any = getattr(module, "head_hidden_size", None) or module.num_features
    return Counts(sum(parameter.numel() for parameter in module.parameters()), flops, features)


def flops(tower: Tower, sizes: Collection[int]) -> dict[Shape, int]:
    """Operations of a whole image's forward pass by its shape, as `counts` has them, of a tower as it is.

    Empty for a tower that knows no meta device.
    """
    try:
        return _flops(copy.deepcopy(tower.module).to("meta"), sizes)
    except Exception:  # towers do what they like, and some of it needs numbers
        return {}


def _flops(
    module: nn.Module, sizes: Collection[int], dropping: TokenDrop | None = None, token_drop: float = 0.0
) -> dict[Shape, int]:
    """Of a tower on the meta device, with `token_drop` of the patches left out by `dropping`."""
    found = {}
    for size in sorted(sizes):
        if dropping is not None:
            dropping.share, dropping.keys = token_drop, torch.empty(1, dtype=torch.int32, device="meta")
        with FlopCounterMode(display=False) as counter:
            _forward(module, size, dropping)
        found[Shape(size, token_drop)] = counter.get_total_flops()
    return found


def _resizing(settings: ModelSettings, num_classes: int, sizes: Collection[int]) -> dict[str, bool]:
    """What makes the constructor's tower take all of `sizes`; UsageError where nothing does."""
    if set(sizes) <= {settings.image_size}:
        return {}
    module, arguments = _on_meta(settings, num_classes, {}), {}
    # A stem of convolutions drops the pixels over, where a single patch embedding refuses them.
    patch = getattr(getattr(module, "patch_embed", None), "feat_ratio", lambda: 1)()
    faults = {size: f"{size} is not divisible by {patch}" for size in sorted(sizes) if size % patch}
    if not faults:
        faults = _faults(module, sizes)
        if faults and isinstance(module, VisionTransformer | Eva):  # they can resample their positions
            arguments = {"dynamic_img_size": True}
            faults = _faults(_on_meta(settings, num_classes, arguments), sizes)
    if faults:
        raise UsageError(
            f"model: {settings.name} does not take images of {', '.join(map(str, faults))} px "
            f"beside {settings.image_size}: {next(iter(faults.values()))}",
            "train it at one size, or choose sizes divisible by its patch, or another tower",
        )
    return arguments


def _faults(module: nn.Module, sizes: Collection[int]) -> dict[int, str]:
    """Sizes at which a tower on the meta device fails, and why."""
    faults = {}
    for size in sorted(sizes):
        try:
            _forward(module, size)
        except Exception as error:  # AssertionError and RuntimeError of timm, and others
            faults[size] = str(error) or type(error).__name__
    return faults


@torch.no_grad()
def _forward(module: nn.Module, size: int, dropping: TokenDrop | None = None) -> None:
    module.eval()
    if dropping is not None:
        dropping.train()
    module(torch.empty(1, 3, size, size, device="meta"))


def _on_meta(settings: ModelSettings, num_classes: int, arguments: dict[str, bool]) -> nn.Module:
    with torch.device("meta"):
        return _made(settings, num_classes, arguments)


def _made(settings: ModelSettings, num_classes: int, arguments: dict[str, bool]) -> nn.Module:
    if ":" in settings.name or not timm.is_model(settings.name):
        close = difflib.get_close_matches(settings.name, timm.list_models(), n=3)
        raise UsageError(
            f"model.name: timm has no tower named {settings.name!r}",
            f"did you mean {', '.join(close)}?" if close else "see timm.list_models() for the names",
        )
    # timm hands the input size of this overlay to the constructors of all towers that fix theirs.
    size = (settings.image_size, settings.image_size)
    overlay: dict[str, Any] = {**_NO_SOURCE, "input_size": (3, *size)}
    if settings.crop_pct is not None:
        overlay["crop_pct"] = settings.crop_pct
    try:
        model: Any = timm.create_model(
            settings.name,
            pretrained=False,
            checkpoint_path="",  # which model_args can't name: a tower made here has no weights of others
            pretrained_cfg_overlay=overlay,
            **{**settings.model_args, **arguments, "num_classes": num_classes},
        )
        native = getattr(getattr(model, "patch_embed", None), "img_size", None)
        if native is not None and tuple(native) != size:  # EVA's configs don't say that it is fixed
            model.set_input_size(img_size=size)
    except Exception as error:  # timm's constructors raise KeyError, ZeroDivisionError, ...
        raise UsageError(
            f"model: {settings.name} at {settings.image_size} px cannot be made: {error}",
            "change model.image_size or model.model_args",
        ) from error
    return model
