"""The ViT that CatLIP released (CoreNet's `vit.py`), with timm's parameter names and registered with timm.

It differs from timm's `vit_base_patch16_224`, and can be said in no timm config, in these points:
a stem of three convolutions, the first padded by 1; no position on the class token; positions interpolated
along the raster index, in one dimension; 20 heads in the huge size; no input normalisation; Xavier-uniform
initialisation.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.hybrid_embed import HybridEmbed
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_hybrid import ConvStem
from torch import Tensor, nn

NATIVE_SIZE = 224
PATCH_SIZE = 16


class CatlipVisionTransformer(VisionTransformer):
    """CatLIP's ViT, for images of any size divisible by 16; it always stores 14 x 14 positions."""

    pos_embed: nn.Parameter

    def __init__(
        self,
        img_size: int | tuple[int, int] = NATIVE_SIZE,
        in_chans: int = 3,
        embed_dim: int = 768,
        **settings: Any,
    ) -> None:
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        if height % PATCH_SIZE or width % PATCH_SIZE:
            raise ValueError(f"image size {img_size} is not divisible by {PATCH_SIZE}")
        # timm's own port of this stem (vit_base_mci_224) pads by 0: its logits differ.
        narrow = max(32, embed_dim // 4)
        stem = ConvStem(
            in_chans=in_chans,
            channels=(narrow, narrow, embed_dim),
            kernel_size=(4, 2, 2),
            stride=(4, 2, 2),
            padding=(1, 0, 0),
            act_layer=nn.GELU,
            device=settings.get("device"),
            dtype=settings.get("dtype"),
        )
        super().__init__(
            img_size=NATIVE_SIZE,
            patch_size=1,  # of the stem's output
            in_chans=in_chans,
            embed_dim=embed_dim,
            embed_layer=partial(HybridEmbed, backbone=stem, proj=False),
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            no_embed_class=True,
            **{"fc_norm": False, **settings},  # without a class token CoreNet averages after the last norm
        )
        if (height, width) != (NATIVE_SIZE, NATIVE_SIZE):
            self.set_input_size((height, width))

    def set_input_size(
        self, img_size: tuple[int, int] | None = None, patch_size: tuple[int, int] | None = None
    ) -> None:
        """Note another image size; unlike in timm's ViT the stored positions stay as they are."""
        positions, self.pos_embed = self.pos_embed, None  # type: ignore[assignment]
        super().set_input_size(img_size=img_size, patch_size=patch_size)
        self.pos_embed = positions

    def _pos_embed(self, x: Tensor) -> Tensor:
        x = x + interpolate_positions(self.pos_embed, x.shape[1])
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        return self.pos_drop(x)

    def init_weights(self, mode: str = "", needs_reset: bool = True) -> None:  # noqa: ARG002
        """Initialise as the released code really does: its recipes' `linear_init` keys never reach the ViT.

        Linear layers Xavier-uniform with zero bias, convolutions and norms as PyTorch has them.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif needs_reset and isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.LayerNorm):
                module.reset_parameters()
        nn.init.trunc_normal_(self.pos_embed, std=self.embed_dim**-0.5)
        if self.cls_token is not None:
            nn.init.trunc_normal_(self.cls_token, std=0.02)


def interpolate_positions(positions: Tensor, tokens: int) -> Tensor:
    """Positions `[1, P, D]` at another number of tokens, `[1, tokens, D]`: CoreNet's rule.

    Bilinear on `[1, 1, P, D]`, so along the flattened (raster) index, in one dimension and not in two.
    """
    if tokens == positions.shape[1]:
        return positions
    size = (tokens, positions.shape[2])
    return F.interpolate(positions.unsqueeze(1), size=size, mode="bilinear").squeeze(1)


default_cfgs = generate_default_cfgs(
    {
        f"vit_{size}_catlip_224": {
            "num_classes": 1000,
            "input_size": (3, NATIVE_SIZE, NATIVE_SIZE),
            "fixed_input_size": True,  # so that timm hands the size of a saved config to the constructor
            "interpolation": "bilinear",
            "crop_pct": 224 / 232,
            "mean": (0.0, 0.0, 0.0),
            "std": (1.0, 1.0, 1.0),
            "pool_size": None,
            "first_conv": "patch_embed.backbone.0.conv",
            "classifier": "head",
        }
        for size in ("base", "large", "huge")
    }
)


def _build(name: str, pretrained: bool, **settings: Any) -> CatlipVisionTransformer:
    feature_cfg = {"out_indices": settings.pop("out_indices", 3), "feature_cls": "getter"}
    return build_model_with_cfg(
        CatlipVisionTransformer, name, pretrained, feature_cfg=feature_cfg, **settings
    )


@register_model
def vit_base_catlip_224(pretrained: bool = False, **settings: Any) -> CatlipVisionTransformer:
    """CatLIP ViT-B/16: 85.96 M parameters without its classifier."""
    size = {"embed_dim": 768, "depth": 12, "num_heads": 12}
    return _build("vit_base_catlip_224", pretrained, **{**size, **settings})


@register_model
def vit_large_catlip_224(pretrained: bool = False, **settings: Any) -> CatlipVisionTransformer:
    """CatLIP ViT-L/16: 303.84 M parameters without its classifier."""
    size = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
    return _build("vit_large_catlip_224", pretrained, **{**size, **settings})


@register_model
def vit_huge_catlip_224(pretrained: bool = False, **settings: Any) -> CatlipVisionTransformer:
    """CatLIP ViT-H/16: 632.00 M parameters without its classifier; 20 heads, where timm's ViT-H has 16."""
    size = {"embed_dim": 1280, "depth": 32, "num_heads": 20}
    return _build("vit_huge_catlip_224", pretrained, **{**size, **settings})
