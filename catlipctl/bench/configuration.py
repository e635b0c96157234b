"""Named open_clip configurations: the model that open_clip builds, and its image tower alone."""

import copy
import difflib
from pathlib import Path
from typing import Any

import open_clip
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.transformer import VisionTransformer
from torch import nn

from catlipctl.errors import UsageError

Configuration = dict[str, Any]
"""`embed_dim`, `vision_cfg`, `text_cfg`, ... as in open_clip's `model_configs/`."""


def find(name: str) -> Configuration:
    """open_clip's configuration of that name, or of that JSON file; UsageError where it can't be compared."""
    if name.endswith(".json"):
        if not Path(name).is_file():
            raise UsageError(
                f"no file {name}", "--model takes an open_clip configuration by name, or as a JSON file"
            )
        open_clip.add_model_config(Path(name))
        name = Path(name).stem
    configuration: Configuration | None = open_clip.get_model_config(name)
    if configuration is None:
        close = difflib.get_close_matches(name, open_clip.list_models(), n=3)
        raise UsageError(
            f"open_clip has no configuration named {name!r}",
            f"did you mean {' or '.join(close)}?"
            if close
            else "ViT-S-16, ViT-B-16 and ViT-L-14 are some of them",
        )
    vision, text = configuration["vision_cfg"], configuration["text_cfg"]
    if "multimodal_cfg" in configuration or "hf_model_name" in text:
        raise UsageError(
            f"{name} is not a plain CLIP: its text side needs a decoder or a download",
            "take a configuration with open_clip's own text tower, such as ViT-B-16",
        )
    if isinstance(vision.get("layers"), list) or vision.get("timm_proj", "linear") != "linear":
        raise UsageError(
            f"the image tower of {name} has no projection of its own, to put a classifier in its place",
            "take a ViT, such as ViT-B-16, or a timm tower with a linear projection",
        )
    return configuration


def image_size(configuration: Configuration) -> int:
    """Pixels of a side."""
    size = configuration["vision_cfg"].get("image_size", 224)
    return int(size if isinstance(size, int) else size[0])


def context_length(configuration: Configuration) -> int:
    """Tokens that the text tower reads of each caption, padding included."""
    return int(configuration["text_cfg"].get("context_length", 77))


def clip_model(configuration: Configuration) -> nn.Module:
    """The model that open_clip builds of a configuration, untrained, with nothing downloaded."""
    arguments = copy.deepcopy(configuration)
    custom = arguments.pop("custom_text", False)
    model: nn.Module = (CustomTextCLIP if custom else CLIP)(**arguments, output_dict=True)
    return model


def image_trunk(configuration: Configuration) -> tuple[nn.Module, int]:
    """The image tower up to its pooled features `[B, width]`, its projection removed; and the width."""
    # Only the image tower is wanted. A text tower of full size would take time and leave a peak in memory.
    smallest = {**configuration["text_cfg"], "layers": 1, "width": 64, "heads": 1, "vocab_size": 8}
    visual: Any = clip_model({**configuration, "text_cfg": smallest}).visual
    if isinstance(visual, VisionTransformer):
        width = int(visual.proj.shape[0])
        visual.proj = None
    else:
        width = visual.head.proj.in_features
        visual.head.proj = nn.Identity()
    return visual, width
