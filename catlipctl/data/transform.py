"""A picture to a tensor: random resized crop and flip for training, resize and centre crop for evaluation.

A training crop is drawn as a function of (seed, position) alone, so it does not depend on which worker or
rank makes it, nor on what was drawn before. Pixels stay bytes until a whole batch is normalised at once.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from catlipctl.data.draws import GOLDEN, MASK, hashed, uniform
from catlipctl.errors import UsageError

INTERPOLATIONS = {method.name.lower(): method for method in Image.Resampling}
Box = tuple[int, int, int, int]
Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class Preprocessing:
    """What an image tower expects of its images.

    size: pixels a side. mean, std: of each channel, on a scale of 0 to 1. interpolation: `bilinear`, ...
    crop_pct: the centre crop's side over the resized short side (CatLIP evaluates at 224/232).
    """

    size: int
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    interpolation: str = "bilinear"
    crop_pct: float = 224 / 232

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise UsageError(
                f"unknown interpolation {self.interpolation!r}", f"one of {', '.join(INTERPOLATIONS)}"
            )


class Augmentation(BaseModel):
    """How training images vary (CatLIP Table 6a: random resized crop and flip).

    scale: bounds of the crop's share of the area. ratio: bounds of its width over height. flip: probability.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: tuple[Positive, Annotated[float, Field(gt=0, le=1)]] = (0.08, 1.0)
    ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    flip: float = Field(default=0.5, ge=0, le=1)

    @model_validator(mode="after")
    def _ascending(self) -> "Augmentation":
        for name, (low, high) in (("scale", self.scale), ("ratio", self.ratio)):
            if low > high:
                raise ValueError(f"{name}: the lower bound {low} is above the upper bound {high}")
        return self


@dataclass(frozen=True)
class Transform(ABC):
    """Called with a picture and its position in the run, gives float32 `[3, S, S]`."""

    preprocessing: Preprocessing

    @abstractmethod
    def pixels(self, image: Image.Image, position: int = 0) -> NDArray[np.uint8]:
        """The cropped and resized picture: uint8 `[S, S, 3]`."""

    def normalise(self, pixels: NDArray[np.uint8]) -> Tensor:
        """uint8 `[B, S, S, 3]` to normalised float32 `[B, 3, S, S]`."""
        count, height, width, channels = pixels.shape
        images = torch.empty(count, channels, height, width)
        images.copy_(torch.from_numpy(pixels).permute(0, 3, 1, 2)).div_(255)
        if any(self.preprocessing.mean):
            images.sub_(torch.tensor(self.preprocessing.mean).view(-1, 1, 1))
        if any(std != 1 for std in self.preprocessing.std):
            images.div_(torch.tensor(self.preprocessing.std).view(-1, 1, 1))
        return images

    def __call__(self, image: Image.Image, position: int = 0) -> Tensor:
        return self.normalise(np.stack([self.pixels(image, position)]))[0]


@dataclass(frozen=True)
class TrainTransform(Transform):
    """Random resized crop and flip (Szegedy et al., 2015), as torchvision's with other random numbers."""

    augmentation: Augmentation
    seed: int

    def pixels(self, image: Image.Image, position: int = 0) -> NDArray[np.uint8]:
        key = hashed((hashed(self.seed & MASK) + position * GOLDEN) & MASK)
        side = (self.preprocessing.size, self.preprocessing.size)
        method = INTERPOLATIONS[self.preprocessing.interpolation]
        crop = image.resize(side, method, box=self._box(image.width, image.height, key))
        pixels = np.asarray(crop)
        return pixels[:, ::-1].copy() if uniform(key, 0) < self.augmentation.flip else pixels

    def _box(self, width: int, height: int, key: int) -> Box:
        """Left, upper, right, lower of the crop; after ten misfits the largest at the centre."""
        scale, ratio = self.augmentation.scale, self.augmentation.ratio
        for first in range(1, 41, 4):
            area = width * height * _between(*scale, uniform(key, first))
            aspect = math.exp(_between(math.log(ratio[0]), math.log(ratio[1]), uniform(key, first + 1)))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                left = int(uniform(key, first + 2) * (width - w + 1))
                upper = int(uniform(key, first + 3) * (height - h + 1))
                return left, upper, left + w, upper + h
        aspect = min(max(width / height, ratio[0]), ratio[1])
        w, h = min(width, max(1, round(height * aspect))), min(height, max(1, round(width / aspect)))
        left, upper = (width - w) // 2, (height - h) // 2
        return left, upper, left + w, upper + h


@dataclass(frozen=True)
class EvalTransform(Transform):
    """Short side to size / crop_pct, then the centre crop: what timm and torchvision do."""

    def pixels(self, image: Image.Image, position: int = 0) -> NDArray[np.uint8]:  # noqa: ARG002
        size = self.preprocessing.size
        # Not floor alone: 224 / (224 / 232) may come out just under 232.
        short = math.floor(size / self.preprocessing.crop_pct + 1e-6)
        image = _without_far_ends(image)
        width, height = image.size
        if width <= height:
            side = (short, int(short * height / width))
        else:
            side = (int(short * width / height), short)
        left, upper = round((side[0] - size) / 2), round((side[1] - size) / 2)
        resized = image.resize(side, INTERPOLATIONS[self.preprocessing.interpolation])
        return np.asarray(resized.crop((left, upper, left + size, upper + size)))


def _without_far_ends(image: Image.Image) -> Image.Image:
    """A very long picture cut to 8:1 at its centre: resizing all of 1 x 80,000,000 would take terabytes."""
    width, height = image.size
    w, h = min(width, 8 * height), min(height, 8 * width)
    left, upper = (width - w) // 2, (height - h) // 2
    return image if (w, h) == image.size else image.crop((left, upper, left + w, upper + h))


def train_transform(preprocessing: Preprocessing, augmentation: Augmentation, seed: int) -> TrainTransform:
    """The training transform; its draws are a function of (seed, position)."""
    return TrainTransform(preprocessing, augmentation, seed)


def eval_transform(preprocessing: Preprocessing) -> EvalTransform:
    """The evaluation transform; it has nothing random."""
    return EvalTransform(preprocessing)


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share
