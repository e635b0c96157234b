"""Towers of images and of texts, and what is done to images on the device."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from catlipctl.recipe.schema import Section
from catlipctl.settings import Pixels

VOCABULARY_SIZE = 49408
"""Tokens of CLIP's byte-pair encoding, whose merges open_clip ships."""
Decibels = Annotated[float, Field(ge=0, le=100)]


class ModelSettings(Section):
    """The image tower, with its head."""

    name: str = "vit_base_catlip_224"
    """A tower of timm's registry, or `vit_{base,large,huge}_catlip_224`, the released CatLIP ViT."""
    image_size: Pixels = 224
    """Pixels a side. [CatLIP Table 6]"""
    crop_pct: float | None = Field(default=None, gt=0, le=1)
    """Share of the resized image that evaluation crops; null: the tower's own."""
    head_bias: Annotated[float, Field(ge=-100, le=100)] | Literal["log-odds", "log-frequency"] = 0.0
    """Where the classifier's bias starts. With V classes of which few are true of an image, a start at
    -log(V / labels an image) spares the first steps, which otherwise only learn that. `log-odds`: for each
    class at log(p / (1 - p)), p its count in the vocabulary over the captions counted; `log-frequency`: at
    the log of its share of all labels, for a softmax. [Lin et al. 2017, 3.3]"""
    token_drop: float = Field(default=0.0, ge=0, le=0.95)
    """Share of an image's patches that a ViT leaves out in training, drawn anew each time. [0.5 in Li et al.
    2023, FLIP]"""
    unmasked_tuning: float = Field(default=0.0, ge=0, le=1)
    """Share of the run's steps, at its end, on whole images where `token_drop` is set. [0.01 in FLIP, 0.32 of
    32 epochs]"""
    model_args: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the tower's constructor: embed_dim, depth, drop_path_rate, ..."""


class RangeAugmentSettings(Section):
    """Brightness, contrast and noise whose ranges are learned (RangeAugment, Mehta et al. 2022)."""

    target_psnr: tuple[Decibels, Decibels] = (40.0, 20.0)
    """Decibels that images are to keep at the run's start and at its end. [CatLIP Table 6]"""


class TextSettings(Section):
    """CLIP's text tower, a causal transformer over tokens."""

    width: int = Field(default=512, ge=1, le=2**16)
    """Numbers a token. [open_clip's ViT-B]"""
    heads: int = Field(default=8, ge=1, le=1024)
    """Of attention; they divide the width. [open_clip's ViT-B]"""
    layers: int = Field(default=12, ge=1, le=1024)
    """Blocks. [open_clip's ViT-B]"""
    context_length: int = Field(default=77, ge=3, le=2**16)
    """Tokens a caption, its start and its end among them; a longer caption is cut. [CLIP]"""
    vocab_size: int = Field(default=VOCABULARY_SIZE, ge=VOCABULARY_SIZE, le=10**7)
    """Tokens that there are. [CLIP]"""

    @model_validator(mode="after")
    def _divisible(self) -> "TextSettings":
        if self.width % self.heads:
            raise ValueError(f"heads: {self.heads} do not divide the width {self.width}")
        return self
