"""RangeAugment (Mehta et al., 2022) as CatLIP's released code has it: learnable brightness, contrast, noise.

Of each operation a range of magnitudes is learned, by how far the images may end from what they were. Images
are changed on the device. What is drawn for an image is a function of the seed and of its position in the
run, and which images of a step are changed is one of the seed and the step: the same on any number of
processes, in any pieces. CoreNet draws for each process's batch instead, from a generator.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from catlipctl.data.batch import Step
from catlipctl.data.draws import GOLDEN, hashed
from catlipctl.data.order import Order
from catlipctl.models import draws
from catlipctl.settings.models import RangeAugmentSettings

WEIGHT = 100 / 255**2
"""Of the loss: CoreNet's alpha, and 255^2, the largest error that a pixel can have."""
_STREAM = 0x52414E47455F4155
"""Keeps these draws apart from those of the crop, which are functions of the same seed and positions."""


class Magnitude(nn.Module):
    """A range to draw from: two learnable scalars, squashed by a sigmoid into the bounds of each end."""

    def __init__(self, start: tuple[float, float], low: tuple[float, float], high: tuple[float, float]):
        super().__init__()
        self.bounds = low, high
        self.low = nn.Parameter(torch.tensor(start[0]))
        self.high = nn.Parameter(torch.tensor(start[1]))

    def range(self) -> tuple[Tensor, Tensor]:
        """The least and the largest magnitude, as they are now."""
        ends = zip((self.low, self.high), self.bounds, strict=True)
        low, high = (least + torch.sigmoid(raw) * (most - least) for raw, (least, most) in ends)
        return low, high

    def forward(self, uniform: Tensor) -> Tensor:
        """Magnitudes of draws in [0, 1), of their shape."""
        low, high = self.range()
        return low + uniform * (high - low)


class RangeAugment(nn.Module):
    """Changes images in training, and says how far the changes are from the target of the step."""

    def __init__(self, settings: RangeAugmentSettings, steps: int, seed: int) -> None:
        super().__init__()
        self.settings = settings
        self.steps = steps
        self.key = draws.stream(seed, _STREAM)
        self.brightness = Magnitude((0.5, 1.5), low=(0.1, 0.9), high=(1.1, 10.0))
        self.contrast = Magnitude((0.5, 1.5), low=(0.1, 0.9), high=(1.1, 10.0))
        self.noise = Magnitude((0.0, 0.1), low=(0.0, 5e-5), high=(1e-4, 1.0))

    def forward(self, images: Tensor, step: Step, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Changed images, and the loss: a scalar, the mean over the images.

        images: float `[B, 3, S, S]` in [0, 1]. positions: int64 `[B]`, on the CPU, all of this step.
        Gradients reach the ranges from the loss and through the images. In eval mode nothing is changed
        and the loss is 0.
        """
        if not self.training:
            return images, images.new_zeros(())
        changed = images
        for operation in self.order(step):
            rows = self.rows(operation, step, positions)  # perhaps none: then the gradient is 0, not absent
            index = torch.from_numpy(rows).to(images.device, non_blocking=True)
            drawn = torch.from_numpy(self.uniform(operation, positions)[rows])
            uniform = drawn.to(images.device, images.dtype, non_blocking=True).view(-1, 1, 1, 1)
            chosen = changed.index_select(0, index)
            if operation == 0:
                chosen = chosen * self.brightness(uniform)
            elif operation == 1:
                magnitude = self.contrast(uniform)
                chosen = (1 - magnitude) * chosen.mean((-2, -1), keepdim=True) + magnitude * chosen
            else:
                chosen = chosen + self.noise(uniform) * self.normal(positions[rows], chosen)
            changed = changed.index_copy(0, index, chosen)
        changed = changed.clip(0, 1)
        return changed, self.loss(images, changed, step)

    def loss(self, images: Tensor, changed: Tensor, step: Step) -> Tensor:
        """How far each image's mean squared error is from the step's target, smooth L1, averaged."""
        errors = ((changed - images) * 255).square().mean((1, 2, 3))
        return WEIGHT * F.smooth_l1_loss(errors, torch.full_like(errors, self.target(step.index)))

    def target(self, step: int) -> float:
        """The mean squared error that is asked for, pixels counting to 255.

        A cosine over the run from the error of the first PSNR to that of the second. CoreNet takes it of the
        errors, not of the decibels: in the middle of 40 to 20 it asks for 23.0 dB.
        """
        start, end = (255**2 * 10 ** (-decibels / 10) for decibels in self.settings.target_psnr)
        return end + (start - end) * (1 + math.cos(math.pi * min(step, self.steps) / (self.steps + 1))) / 2

    def order(self, step: Step) -> list[int]:
        """A step's order of the operations: 0 is brightness, 1 contrast, 2 noise."""
        return sorted(range(3), key=lambda operation: self._of_step(step, operation))

    def rows(self, operation: int, step: Step, positions: Tensor) -> NDArray[np.int64]:
        """Those of `positions` that an operation changes: half of the step's images, over all processes."""
        rows = positions.numpy() - step.start
        if not rows.size:
            return rows
        first = int(rows.min())
        shuffled = Order(step.rows, self._of_step(step, operation)).take(first, int(rows.max()) - first + 1)
        return np.flatnonzero(shuffled[rows - first] < max(1, step.rows // 2))

    def uniform(self, operation: int, positions: Tensor) -> NDArray[np.float64]:
        """A draw in [0, 1) for each position: `[B]`."""
        keys = self._of_images(positions)
        return (hashed(keys + operation * GOLDEN % 2**64) >> 11).astype(np.float64) * 2.0**-53

    def normal(self, positions: Tensor, like: Tensor) -> Tensor:
        """Standard normal draws of the shape, type and device of `like`, one for each pixel of each position.

        A hash of the position's key and the pixel's number, through the inverse of the distribution. A
        generator's draws would depend on how the step is cut into pieces.
        """
        keys = draws.device_keys(self._of_images(positions), like.device)
        bits = draws.bits(keys, math.prod(like.shape[1:]))
        # Of 24 bits, symmetric about 0, and each end is below 1 in float32 still.
        return (((bits >> 8) + 0.5) * 2.0**-23).erfinv_().mul_(math.sqrt(2)).view(like.shape).to(like.dtype)

    def _of_step(self, step: Step, operation: int) -> int:
        return hashed(hashed(self.key ^ step.index) ^ operation)

    def _of_images(self, positions: Tensor) -> NDArray[np.uint64]:
        return draws.image_keys(self.key, positions)
