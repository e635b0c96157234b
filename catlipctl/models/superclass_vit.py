"""The ViT of SuperClass with its head, with timm's parameter names and registered with timm.

The tower is open_clip's ViT: a norm before the blocks and one after them, then the average of the patches.
timm's `vit_*_clip_*` say as much. They can't say the head: a norm of that average, then a linear layer of
49,408 outputs, one for each token of CLIP's byte-pair encoding.
"""

from collections import OrderedDict
from functools import partial
from typing import Any

from timm.data import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._input import update_model_args
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from catlipctl.settings.models import VOCABULARY_SIZE

NORM = partial(nn.LayerNorm, eps=1e-5)


class SuperclassVisionTransformer(VisionTransformer):
    """SuperClass's ViT. norm_head: whether a norm is a part of the head, as in pre-training."""

    def __init__(self, norm_head: bool = True, **settings: Any) -> None:
        super().__init__(
            **{
                "global_pool": "avg",
                "fc_norm": False,
                "pre_norm": True,
                "norm_layer": NORM,
                "num_classes": VOCABULARY_SIZE,
                **settings,
            }
        )
        if norm_head and self.num_classes:
            width = self.embed_dim
            linear = nn.Linear(width, self.num_classes)
            nn.init.normal_(linear.weight, std=width**-0.5)
            nn.init.zeros_(linear.bias)
            self.head = nn.Sequential(OrderedDict(norm=NORM(width), fc=linear))  # type: ignore[assignment]

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Another classifier is one linear layer."""
        super().reset_classifier(num_classes, global_pool)
        update_model_args(self, norm_head=False)


_SIZES = {
    "vit_base_patch16_superclass_224": {"patch_size": 16, "embed_dim": 768, "depth": 12, "num_heads": 12},
    "vit_large_patch16_superclass_224": {"patch_size": 16, "embed_dim": 1024, "depth": 24, "num_heads": 16},
    "vit_large_patch14_superclass_224": {"patch_size": 14, "embed_dim": 1024, "depth": 24, "num_heads": 16},
}
default_cfgs = generate_default_cfgs(
    {
        name: {
            "num_classes": VOCABULARY_SIZE,
            "input_size": (3, 224, 224),
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "mean": OPENAI_CLIP_MEAN,
            "std": OPENAI_CLIP_STD,
            "pool_size": None,
            "first_conv": "patch_embed.proj",
            "classifier": "head.fc",
        }
        for name in _SIZES
    }
)


def _build(name: str, pretrained: bool, settings: dict[str, Any]) -> SuperclassVisionTransformer:
    feature_cfg = {"out_indices": settings.pop("out_indices", 3), "feature_cls": "getter"}
    return build_model_with_cfg(
        SuperclassVisionTransformer, name, pretrained, feature_cfg=feature_cfg, **{**_SIZES[name], **settings}
    )


@register_model
def vit_base_patch16_superclass_224(pretrained: bool = False, **settings: Any) -> SuperclassVisionTransformer:
    """SuperClass's CLS-ViT-B-16: 85.80 M parameters without its head."""
    return _build("vit_base_patch16_superclass_224", pretrained, settings)


@register_model
def vit_large_patch16_superclass_224(
    pretrained: bool = False, **settings: Any
) -> SuperclassVisionTransformer:
    """SuperClass's CLS-ViT-L-16."""
    return _build("vit_large_patch16_superclass_224", pretrained, settings)


@register_model
def vit_large_patch14_superclass_224(
    pretrained: bool = False, **settings: Any
) -> SuperclassVisionTransformer:
    """SuperClass's CLS-ViT-L-14."""
    return _build("vit_large_patch14_superclass_224", pretrained, settings)
