"""Bytes to pixels: random resized crop and flip for training, resize and centre crop for evaluation.

A training crop is drawn as a function of (seed, position) alone, so it does not depend on which worker or
rank makes it, nor on what was drawn before. Pixels stay bytes until they are on the device.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from catlipctl.data.decode import decode, decode_jpeg
from catlipctl.data.draws import GOLDEN, MASK, hashed, uniform
from catlipctl.errors import UsageError
from catlipctl.settings.data import Augmentation, Decode

INTERPOLATIONS = {method.name.lower(): method for method in Image.Resampling}
RESIZED_BY_TORCH = ("bilinear", "bicubic")
LONGEST = 8
"""Of a picture the long side over the short one; what is beyond is cut off before it is resized."""
Box = tuple[int, int, int, int]


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
        _check_interpolation(self.interpolation)

    def resized(self, size: int) -> int:
        """Pixels of the short side before the centre crop of `size` pixels a side."""
        # Not floor alone: 224 / (224 / 232) may come out just under 232.
        return math.floor(size / self.crop_pct + 1e-6)

    def scaled(self, images: Tensor) -> Tensor:
        """uint8 `[B, 3, S, S]` to float32 of the same shape, between 0 and 1.

        On a GPU they stay as the loader has them, channels last: convolutions on tensor cores want that. On a
        CPU they are made contiguous: else a FastViT corrupts memory (torch 2.15), and others gain little.
        """
        layout = torch.preserve_format if images.is_cuda else torch.contiguous_format
        return images.to(torch.float32, memory_format=layout).div_(255)

    def standardised(self, images: Tensor) -> Tensor:
        """(images - mean) / std, by channel: in place of `images` where no gradient goes to them."""
        if any(self.mean):
            mean = _channels(self.mean, images.device)
            images = images - mean if images.requires_grad else images.sub_(mean)
        if any(std != 1 for std in self.std):
            std = _channels(self.std, images.device)
            images = images / std if images.requires_grad else images.div_(std)
        return images

    def prepared(self, images: Tensor) -> Tensor:
        """uint8 `[B, 3, S, S]` as the tower wants them: scaled and standardised."""
        return self.standardised(self.scaled(images))


def _check_interpolation(name: str) -> None:
    if name not in INTERPOLATIONS:
        raise UsageError(f"unknown interpolation {name!r}", f"choose one of {', '.join(INTERPOLATIONS)}")


@cache
def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    # Outside inference mode, or a later training step could not use it.
    with torch.inference_mode(False):
        return torch.tensor(values, device=device).view(-1, 1, 1)


class Transform(Protocol):
    """Of an image's bytes and its position in the run the pixels: uint8 `[size, size, 3]`, contiguous."""

    def __call__(self, image: bytes, position: int, size: int) -> NDArray[np.uint8]:
        """Raises UnreadableImage."""
        ...


@dataclass(frozen=True)
class TrainTransform:
    """Random resized crop and flip (Szegedy et al., 2015), as torchvision's with other random numbers.

    decode: `exact` is Pillow's decoding and resizing. `fast` has of JPEGs the same pixels from another
    decoder and resizes by torch, in about half the time and at a PSNR to `exact` of 53 to 62 dB (medians of
    photos): it differs by rounding, and at a crop's edges, where Pillow looks at the pixels beyond. Whatever
    is no plain JPEG, or neither bilinear nor bicubic, goes the exact way. The crop is the same on both.
    """

    augmentation: Augmentation
    seed: int
    interpolation: str = "bilinear"
    decode: Decode = "fast"

    def __post_init__(self) -> None:
        _check_interpolation(self.interpolation)

    def __call__(self, image: bytes, position: int, size: int) -> NDArray[np.uint8]:
        key = hashed((hashed(self.seed & MASK) + position * GOLDEN) & MASK)
        jpeg = None
        if self.decode == "fast" and self.interpolation in RESIZED_BY_TORCH:
            jpeg = decode_jpeg(image)
        if jpeg is not None:
            left, upper, right, lower = self._box(jpeg.shape[1], jpeg.shape[0], key)
            pixels = _resized(jpeg[upper:lower, left:right], (size, size), self.interpolation)
        else:
            picture = decode(image)
            box = self._box(picture.width, picture.height, key)
            crop = picture.resize((size, size), INTERPOLATIONS[self.interpolation], box=box)
            pixels = torch.from_numpy(np.array(crop))
        # By torch: NumPy takes as long to flip as torch to resize.
        return (pixels.flip(1) if uniform(key, 0) < self.augmentation.flip else pixels).numpy()

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
class EvalTransform:
    """Short side to size / crop_pct, then the centre crop: what timm and torchvision do.

    decode: `exact` is Pillow's decoding and resizing. `fast` is that of `TrainTransform`: of photos of a web
    crawl, in half the time, no pixel differed by more than 2 of 255.
    """

    preprocessing: Preprocessing
    decode: Decode = "exact"

    def __call__(self, image: bytes, position: int, size: int) -> NDArray[np.uint8]:  # noqa: ARG002
        pixels = None
        if self.decode == "fast" and self.preprocessing.interpolation in RESIZED_BY_TORCH:
            pixels = decode_jpeg(image)
        if pixels is not None and max(pixels.shape[:2]) <= LONGEST * min(pixels.shape[:2]):
            (width, height), (left, upper) = self._places(pixels.shape[1], pixels.shape[0], size)
            resized = _resized(pixels, (height, width), self.preprocessing.interpolation)
            return resized[upper : upper + size, left : left + size].contiguous().numpy()
        picture = _without_far_ends(decode(image))
        sides, (left, upper) = self._places(*picture.size, size)
        found = picture.resize(sides, INTERPOLATIONS[self.preprocessing.interpolation])
        return np.array(found.crop((left, upper, left + size, upper + size)))

    def _places(self, width: int, height: int, size: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Width and height once resized, and where the crop has its left and upper end there."""
        short = self.preprocessing.resized(size)
        if width <= height:
            sides = (short, int(short * height / width))
        else:
            sides = (int(short * width / height), short)
        return sides, (round((sides[0] - size) / 2), round((sides[1] - size) / 2))


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int], interpolation: str) -> Tensor:
    """uint8 `[H, W, 3]`, perhaps a part of a picture, to uint8 `[*size, 3]`, antialiased."""
    # The batch's axis comes first: torch would otherwise not see that the channels are last, and copy.
    image = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    resized = F.interpolate(image, size, mode=interpolation, antialias=True)
    return resized[0].permute(1, 2, 0).contiguous()


def _without_far_ends(image: Image.Image) -> Image.Image:
    """A very long picture cut to 8:1 at its centre: resizing all of 1 x 80,000,000 would take terabytes."""
    width, height = image.size
    w, h = min(width, LONGEST * height), min(height, LONGEST * width)
    left, upper = (width - w) // 2, (height - h) // 2
    return image if (w, h) == image.size else image.crop((left, upper, left + w, upper + h))


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share
