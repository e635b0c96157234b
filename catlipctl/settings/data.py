"""How images are decoded and altered."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from catlipctl.recipe.schema import Section

Decode = Literal["fast", "exact"]
AreaShare = Annotated[float, Field(gt=0, le=1)]
Ratio = Annotated[float, Field(gt=0, le=1000)]


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
