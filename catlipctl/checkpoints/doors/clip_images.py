"""Image towers of open_clip's models, as timm makes them: ViTs, CLIP's ResNets, timm's with a projection."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch
from open_clip.model import CLIPVisionCfg
from pydantic import ValidationError
from torch import Tensor, nn

from catlipctl.checkpoints.doors import clip_vit
from catlipctl.checkpoints.doors.fitting import Places, places_of
from catlipctl.checkpoints.open_clip import OpenClipConfig
from catlipctl.errors import CheckpointError
from catlipctl.settings.models import ModelSettings

_VISUAL = "visual."
_NAMED = {
    (768, 16): "base_patch16",
    (768, 32): "base_patch32",
    (1024, 14): "large_patch14",
    (1280, 14): "huge_patch14",
    (1408, 14): "giant_patch14",
    (1664, 14): "gigantic_patch14",
}
"""timm's names of open_clip's ViTs, by width and patch."""
_RESNETS = {
    (3, 4, 6, 3): "resnet50_clip",
    (3, 4, 23, 3): "resnet101_clip",
    (4, 6, 10, 6): "resnet50x4_clip",
    (6, 8, 18, 8): "resnet50x16_clip",
    (3, 15, 36, 10): "resnet50x64_clip",
}
"""timm's names of CLIP's ResNets, by their blocks; each has one width."""
_RESNET_NAMES = {
    r"^stem\.(conv|bn)(\d)\.(conv|bn)\.": r"\3\2.",
    **{rf"^stages\.{i}\.": f"layer{i + 1}." for i in range(4)},
    r"\.shortcut\.conv\.conv\.": ".downsample.0.",
    r"\.shortcut\.conv\.bn\.": ".downsample.1.",
    r"\.conv(\d)_\w+\.(conv|bn)\.": r".\2\1.",
    r"^head\.pos_embed$": "attnpool.positional_embedding",
    r"^head\.([qkv])\.": r"attnpool.\1_proj.",
    r"^head\.proj\.": "attnpool.c_proj.",
    "^": _VISUAL,
}
_CUSTOM = ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc")


@dataclass(frozen=True)
class Images:
    """How timm makes an image tower, and where its parameters lie in open_clip's file.

    names: patterns of timm's names and what stands for them there. zero: timm's biases that are not there.
    transposed: the projection's weight, where its axes are in the other order there.
    """

    settings: ModelSettings
    outputs: int
    names: Mapping[str, str]
    zero: frozenset[str] = frozenset()
    transposed: str = ""

    def places(self, module: nn.Module) -> Places:
        """Where the parameters of that tower lie in the file."""
        state = module.state_dict()
        shapes: dict[str, tuple[int, ...]] = {}
        if "cls_token" in state and self.transposed:
            shapes = clip_vit.shapes(state["cls_token"].shape[2], state["pos_embed"].shape[1])
            shapes[self.transposed] = tuple(reversed(state[self.transposed].shape))
        places = places_of(module, self.names, shapes)
        return {own: place for own, place in places.items() if own not in self.zero}

    def settled(self, tensors: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
        """The tower's parameters out of the tensors that were found in their places."""
        found = {
            own: torch.zeros_like(value) if own in self.zero else tensors[own]
            for own, value in module.state_dict().items()
        }
        if self.transposed:
            found[self.transposed] = found[self.transposed].T
        return found


def images_of(spelling: str, config: OpenClipConfig) -> Images:
    """The image tower of a model. Raises CheckpointError for one that timm can't say."""
    model = config.model_cfg
    try:
        vision = CLIPVisionCfg(**model.vision_cfg)
        reason = "its towers share a caption decoder" if model.multimodal_cfg else _refusal(vision)
        if not reason:
            if vision.timm_model_name:
                return _of_timm(vision, model.embed_dim)
            if not isinstance(vision.layers, int):
                return _of_resnet(vision, model.embed_dim)
            return _of_vit(vision, model.embed_dim, model.quick_gelu)
    except (TypeError, ValueError, ValidationError, ZeroDivisionError) as error:
        reason = f"its configuration is not understood: {str(error).splitlines()[0]}"
    raise CheckpointError(
        f"timm can't make the image tower of {spelling}: {reason}",
        "name another model, or one of timm's: timm:NAME",
    )


def _refusal(vision: CLIPVisionCfg) -> str:
    """Why timm has no word for a tower; '' where it has."""
    if not isinstance(vision.image_size, int):
        return "its images are not square"
    if vision.timm_model_name:
        if not timm.is_model(vision.timm_model_name):
            return f"timm has none named {vision.timm_model_name!r}"
        if vision.timm_pool in ("abs_attn", "rot_attn") or vision.timm_proj == "mlp":
            return "its projection is not one linear layer"
        return ""
    if not isinstance(vision.layers, int):
        return "" if tuple(vision.layers) in _RESNETS else "timm has no such ResNet of CLIP's"
    if vision.attentional_pool or vision.pool_type not in ("tok", "avg"):
        return "it pools by attention"
    if vision.block_type or any(getattr(vision, name) for name in _CUSTOM):
        return "its attention is another"
    if vision.norm_kwargs or vision.act_kwargs:
        return "its norms or activations are others"
    return ""


def _of_vit(vision: CLIPVisionCfg, outputs: int, quick_gelu: bool) -> Images:
    average = vision.pool_type == "avg"
    arguments: dict[str, Any] = {
        "patch_size": vision.patch_size,
        "embed_dim": vision.width,
        "depth": vision.layers,
        "num_heads": vision.width // vision.head_width,
        "mlp_ratio": vision.mlp_ratio,
        "pre_norm": not vision.no_ln_pre,
        "global_pool": "avg" if average else "token",
        # The norm of a token is that of the tokens; of an average it matters which comes first.
        "fc_norm": average and vision.final_ln_after_pool,
    }
    if quick_gelu:
        arguments["act_layer"] = "quick_gelu"
    if vision.ls_init_value is not None:
        arguments["init_values"] = vision.ls_init_value
    name = _NAMED.get((vision.width, vision.patch_size), "base_patch16")
    return Images(
        ModelSettings(
            name=f"vit_{name}_clip_224", image_size=vision.image_size, crop_pct=1.0, model_args=arguments
        ),
        outputs,
        {**clip_vit.NAMES, r"^head\.weight$": "proj", "^": _VISUAL},
        zero=frozenset({"head.bias", *({"patch_embed.proj.bias"} if vision.no_ln_pre else ())}),
        transposed="head.weight",
    )


def _of_resnet(vision: CLIPVisionCfg, outputs: int) -> Images:
    name = _RESNETS[tuple(vision.layers)]
    settings = ModelSettings(name=name, image_size=vision.image_size, crop_pct=1.0)
    return Images(settings, outputs, _RESNET_NAMES)


def _of_timm(vision: CLIPVisionCfg, outputs: int) -> Images:
    arguments = {"global_pool": vision.timm_pool} if vision.timm_pool else {}
    native = timm.get_pretrained_cfg(vision.timm_model_name)
    head = native.classifier if native is not None else None
    if vision.timm_proj == "linear" and not isinstance(head, str):
        raise ValueError(f"timm's {vision.timm_model_name} has no classifier to be the projection")
    names = {"^": f"{_VISUAL}trunk."}
    zero: frozenset[str] = frozenset()
    if vision.timm_proj == "linear":
        projected = rf"^{_VISUAL}trunk\.{re.escape(str(head))}\.(weight|bias)$"
        names[projected] = rf"{_VISUAL}head.proj.\1"
        zero = frozenset() if vision.timm_proj_bias else frozenset({f"{head}.bias"})
    settings = ModelSettings(
        name=vision.timm_model_name, image_size=vision.image_size, crop_pct=1.0, model_args=arguments
    )
    return Images(settings, 0 if vision.timm_proj == "none" else outputs, names, zero)
