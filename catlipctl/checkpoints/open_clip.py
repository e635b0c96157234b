"""A CLIP run's two towers as open_clip opens them: `open_clip.create_model("local-dir:DIRECTORY")`."""

import math
from collections.abc import Mapping
from typing import Any

import timm
from timm.models import get_model_args
from torch import Tensor

from catlipctl.errors import UsageError
from catlipctl.models import Tower
from catlipctl.objectives.clip import LARGEST_SCALE, Clip

OPEN_CLIP_CONFIG = "open_clip_config.json"
OPEN_CLIP_WEIGHTS = "open_clip_model.safetensors"


def open_clip_files(
    objective: Clip, weights: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The content of `open_clip_config.json` and of `open_clip_model.safetensors`.

    weights: a state dict of the objective's if not its own (the EMA).
    open_clip resizes the short side to the image size and has no word for a tower's `crop_pct`.
    Raises UsageError, which says why, for a tower that open_clip cannot make: it hands timm a name, a number
    of outputs and a kind of pooling, and nothing else.
    """
    config = {
        "model_cfg": {
            "embed_dim": objective.settings.embed_dim,
            "custom_text": True,  # the text tower's names begin with `text.`, as ours do
            "vision_cfg": _vision(objective.tower),
            "text_cfg": objective.settings.text.model_dump(),
        },
        "preprocess_cfg": _preprocessing(objective.tower),
    }
    state = {}
    for name, value in (objective.state_dict() if weights is None else weights).items():
        if name.startswith("model."):
            state[name.replace("model.", "visual.trunk.", 1)] = value
        elif name.startswith("text."):
            state[name] = value
        elif name == "logit_scale":
            state[name] = value.clamp(0, math.log(LARGEST_SCALE))
    return config, state


def _vision(tower: Tower) -> dict[str, Any]:
    module: Any = tower.module
    if not type(module).__module__.startswith("timm."):
        raise _refusal(f"{tower.name} is not in timm itself")
    arguments = get_model_args(module)
    made = {key: arguments.pop(key, None) for key in ("num_classes", "in_chans", "global_pool", "img_size")}
    arguments.pop("dynamic_img_size", None)  # of the same weights
    if arguments or made["in_chans"] not in (None, 3):
        raise _refusal(f"it has no word for model.model_args ({', '.join(arguments) or 'in_chans'})")
    native = timm.get_pretrained_cfg(tower.name)
    if made["img_size"] and (native is None or made["img_size"] != native.input_size[1:]):
        wanted = f"{native.input_size[-1]} px" if native else "its own size"
        raise _refusal(
            f"{tower.name} is made for {made['img_size'][0]} px here, and by open_clip for {wanted}"
        )
    return {
        "image_size": tower.preprocessing.size,
        "timm_model_name": tower.name,
        "timm_model_pretrained": False,
        "timm_pool": made["global_pool"],
        "timm_proj": "",  # the projection is timm's own classifier
    }


def _preprocessing(tower: Tower) -> dict[str, Any]:
    found = tower.preprocessing
    if found.interpolation not in ("bicubic", "bilinear"):
        raise _refusal(f"it does not resize images by interpolation {found.interpolation!r}")
    return {
        "size": found.size,
        "mode": "RGB",
        "mean": list(found.mean),
        "std": list(found.std),
        "interpolation": found.interpolation,
        "resize_mode": "shortest",
    }


def _refusal(reason: str) -> UsageError:
    return UsageError(
        f"open_clip cannot make this image tower: {reason}",
        "timm opens model.safetensors; for open_clip train one of timm's towers at its own size",
    )
