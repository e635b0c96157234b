"""Parts of labelled images, stratified and decided by the seed: so many a class, a share of each, folds.

Labels are class ids `[N]`, or which of several classes each image has, `[N, K]`: then an image counts for the
rarest of its classes.
"""

import re
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from catlipctl.errors import UsageError


@dataclass(frozen=True)
class TrainSize:
    """How much of each class to train on: a number of images a class, or a share of them."""

    images: int | None = None
    share: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "TrainSize":
        """`5/class` or `10%`. Raises UsageError for anything else."""
        if match := re.fullmatch(r"([0-9]+)/class", text):
            if int(match[1]) > 0:
                return cls(images=int(match[1]))
        elif (match := re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", text)) and 0 < float(match[1]) <= 100:
            return cls(share=float(match[1]) / 100)
        raise UsageError(f"train size {text!r} is not valid", "write it as 5/class or 10%")

    def __str__(self) -> str:
        return f"{self.images}/class" if self.images is not None else f"{100 * self.share:g}%"

    def of(self, images: int) -> int:
        """How many of a class's `images` are taken: at least one."""
        return min(images, self.images) if self.images is not None else max(1, round(self.share * images))


ALL = TrainSize()


def strata(labels: Tensor) -> Tensor:
    """`[N]`, the class for which each image counts: its rarest one, `K` where it has none."""
    if labels.dim() == 1:
        return labels
    counts = labels.sum(0)
    rarity = torch.where(labels, counts, len(labels) + 1)
    return torch.where(labels.any(1), rarity.argmin(1), labels.shape[1])


def subset(labels: Tensor, size: TrainSize, seed: int) -> Tensor:
    """Indices, ascending, of a stratified subset: of each class the first ones of a permutation by `seed`.

    So smaller subsets lie inside larger ones, and every initialisation is given the same.
    """
    taken = [members[: size.of(len(members))] for members in _shuffled_classes(labels, seed)]
    return torch.cat(taken).sort().values


def held_out(labels: Tensor, share: float, seed: int) -> Tensor:
    """`[N]`, bool: a `share` of each class, at least one image where it has two, never all."""
    mask = torch.zeros(len(labels), dtype=torch.bool)
    for members in _shuffled_classes(labels, seed):
        mask[members[: min(max(1, round(share * len(members))), len(members) - 1)]] = True
    return mask


def folds(labels: Tensor, count: int, seed: int) -> Tensor:
    """`[N]`, the fold in which each sample is held out: stratified, even in size; -1 (never) for a class's
    only one.
    """
    fold = torch.full((len(labels),), -1)
    dealt = 0
    for members in _shuffled_classes(labels, seed):
        if len(members) > 1:
            fold[members] = (dealt + torch.arange(len(members))) % count
            dealt += len(members)
    return fold


def _shuffled_classes(labels: Tensor, seed: int) -> list[Tensor]:
    """The samples of each class that has any, each in an order of its own that no other class changes."""
    labels = strata(labels)
    return [
        torch.from_numpy(np.random.default_rng([seed, c]).permutation(torch.where(labels == c)[0].numpy()))
        for c in labels.unique().tolist()
    ]
