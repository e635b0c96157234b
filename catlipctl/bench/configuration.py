"""Named open_clip configurations: the model that open_clip builds, and its parts for an objective of ours."""

import copy
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.transformer import VisionTransformer
from pydantic import ValidationError
from torch import Tensor, nn

from catlipctl.data.transform import Preprocessing
from catlipctl.errors import UsageError
from catlipctl.settings.models import TextSettings

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
    try:
        text_settings(configuration)
    except ValidationError as error:
        raise UsageError(
            f"{name} is not a plain CLIP: `pretrain` has no text tower with its "
            + ", ".join(str(fault["loc"][0]) for fault in error.errors() if fault["loc"]),
            "take a configuration with CLIP's own text tower, such as ViT-B-16",
        ) from error
    if configuration.get("quick_gelu"):
        raise UsageError(
            f"{name} has QuickGELU, which the text tower of `pretrain` has not", "take it without -quickgelu"
        )
    vision = configuration["vision_cfg"]
    if isinstance(vision.get("layers"), list) or vision.get("timm_proj", "linear") != "linear":
        raise UsageError(
            f"the image tower of {name} has no projection that a classifier can replace",
            "take a ViT, such as ViT-B-16, or a timm tower with a linear projection",
        )
    return configuration


def image_size(configuration: Configuration) -> int:
    """Pixels of a side."""
    size = configuration["vision_cfg"].get("image_size", 224)
    return int(size if isinstance(size, int) else size[0])


def changed(
    configuration: Configuration, *, image_size: int | None = None, context: int | None = None
) -> Configuration:
    """The configuration for images of other pixels a side, or captions of other tokens; None: as it is."""
    made = copy.deepcopy(configuration)
    if image_size is not None:
        made["vision_cfg"]["image_size"] = image_size
    if context is not None:
        made["text_cfg"]["context_length"] = context
    return made


def text_settings(configuration: Configuration) -> TextSettings:
    """Its text tower, as a recipe says it."""
    return TextSettings(**configuration["text_cfg"])


def clip_model(configuration: Configuration) -> nn.Module:
    """The model that open_clip builds of a configuration, untrained, with nothing downloaded."""
    arguments = copy.deepcopy(configuration)
    custom = arguments.pop("custom_text", False)
    model: nn.Module = (CustomTextCLIP if custom else CLIP)(**arguments, output_dict=True)
    return model


class WithHead(nn.Sequential):
    """A trunk and its head, one after the other."""

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the trunk's blocks again in the backward pass, as timm's towers call it."""
        trunk: Any = self[0]
        trunk.set_grad_checkpointing(enable)


@dataclass(frozen=True, eq=False)
class OpenClipTower:
    """open_clip's image tower with a linear layer in its projection's place: a `models.Tower`."""

    name: str
    module: nn.Sequential
    preprocessing: Preprocessing

    @property
    def num_classes(self) -> int:
        """Outputs of the head."""
        return self.linear_head().out_features

    @property
    def head(self) -> nn.Module:
        """The linear layer."""
        return self.module[1]

    def linear_head(self) -> nn.Linear:
        """The same: weight `[V, D]`, bias `[V]` where it has one."""
        assert isinstance(self.head, nn.Linear)
        return self.head

    def features(self, images: Tensor) -> Tensor:
        """What the head is given, `[B, D]`."""
        pooled: Tensor = self.module[0](images)
        return pooled


def image_tower(configuration: Configuration, outputs: int, *, bias: bool = True) -> OpenClipTower:
    """The configuration's image tower, untrained, with a head of so many outputs."""
    trunk, width = image_trunk(configuration)
    return OpenClipTower(
        name="open_clip's",
        module=WithHead(trunk, nn.Linear(width, outputs, bias=bias)),
        preprocessing=Preprocessing(image_size(configuration), OPENAI_DATASET_MEAN, OPENAI_DATASET_STD),
    )


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
