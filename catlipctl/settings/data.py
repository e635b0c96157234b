"""How images are decoded and altered."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from catlipctl.recipe.schema import Section

Decode = Literal["fast", "exact"]
AreaShare = Annotated[float, Field(gt=0, le=1)]
Ratio = Annotated[float, Field(gt=0, le=1000)]


class CaptionSettings(Section):
    """What is learned of an image with several captions: original and synthetic ones, or those of several
    people. They stand in the order of `caption_keys`."""

    use: Literal["one", "each"] | None = None
    """`one`: one of them, drawn anew each time that the image is seen. `each`: all at once. With a text tower
    these are as many as there are weights, each with a loss of its own, of which the mean is taken; an image
    with fewer captions takes some twice. Labels are then their union. null: one with a text tower, else each.
    [CLIP with Quality Captions 3.1]"""
    weights: list[Annotated[float, Field(ge=0, le=10**6)]] = Field(default_factory=list, max_length=100)
    """Of the first caption, the second, ...: how probable it is, or how much its loss or its labels weigh,
    to one another. A caption without a weight is left out where another has some; none: all alike."""

    @model_validator(mode="after")
    def _some(self) -> "CaptionSettings":
        if self.weights and not any(self.weights):
            raise ValueError("weights: one of them must be above 0")
        return self


class Augmentation(Section):
    """How training images vary: a random resized crop and a flip."""

    scale: tuple[AreaShare, AreaShare] = (0.08, 1.0)
    """Bounds of the crop's share of the image's area. [CatLIP Table 6a; torchvision's]"""
    ratio: tuple[Ratio, Ratio] = (3 / 4, 4 / 3)
    """Bounds of the crop's width over its height. [torchvision's]"""
    flip: float = Field(default=0.5, ge=0, le=1)
    """How probably an image is mirrored. [CatLIP Table 6a]"""

    @model_validator(mode="after")
    def _ascending(self) -> "Augmentation":
        for name, (low, high) in (("scale", self.scale), ("ratio", self.ratio)):
            if low > high:
                raise ValueError(f"{name}: the lower bound {low} is above the upper bound {high}")
        return self
