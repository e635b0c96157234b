"""What tags are worth: F1 and average precision of classes, by several ways of thresholds."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from catlipctl.average_precision import average_precision
from catlipctl.progress import Progress
from catlipctl.transfer.metrics.intervals import Interval
from catlipctl.transfer.tagging.fitting import Fit
from catlipctl.transfer.tagging.scored import Scored

WAYS = ("each", "one", "one_for_micro")
RESAMPLES = 400


class Tagged(BaseModel):
    """What tags are worth that one way of thresholds tells: F1 in 0..1, with 95 % bootstrap intervals.

    macro_f1: the mean over the measured classes. micro_f1: of all their pairs of image and class together.
    tags_per_image: how many of these classes are told of an image.
    """

    macro_f1: float
    macro_f1_interval: Interval
    micro_f1: float
    micro_f1_interval: Interval
    tags_per_image: float


class ClassTagged(BaseModel):
    """A measured class: images that have it, the threshold that is written, F1, average precision."""

    label: str
    images: int
    threshold: float
    f1: float
    average_precision: float


class Part(NamedTuple):
    """Test images, `[N]` bool (None: all), and thresholds that were fitted on others."""

    rows: Tensor | None
    fit: Fit


def measure(
    test: Scored, ids: Sequence[int], parts: Sequence[Part], seed: int, progress: Progress
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What `Tally.figures` tells of these classes, and of each class `images`, `f1` and `average_precision`.

    parts: together all images, each once.
    """
    tally = Tally(len(test), seed)
    rows: list[dict[str, Any]] = []
    with progress.task("measuring tags", len(ids), "classes") as task:
        for block in test.blocks(ids):
            logits, positive = test.block(block)
            f1 = tally.add(_told(logits, block, parts), positive)
            each = (positive.sum(0), f1, average_precision(logits, positive))
            rows += [
                {"images": images, "f1": value, "average_precision": ranked}
                for images, value, ranked in zip(*(part.tolist() for part in each), strict=True)
            ]
            task.advance(len(block))
    return tally.figures(), rows


def _told(logits: Tensor, ids: Sequence[int], parts: Sequence[Part]) -> dict[str, Tensor]:
    """Which images are told to have these classes, `[N, len(ids)]`, bool, by each way."""
    told = {way: torch.zeros_like(logits, dtype=torch.bool) for way in WAYS}
    for rows, fit in parts:
        shown = slice(None) if rows is None else rows
        cuts = (fit.cuts(ids), torch.tensor(fit.one), torch.tensor(fit.one_for_micro))
        for way, cut in zip(WAYS, cuts, strict=True):
            told[way][shown] = logits[shown].double() >= cut.double()
    return told


class Tally:
    """F1 of three ways of thresholds, over the classes as they come, in all resamples of the images."""

    def __init__(self, images: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        drawn = generator.multinomial(images, np.full(images, 1 / images), RESAMPLES)
        # The first row is the images themselves.
        self._weights = torch.from_numpy(np.vstack([np.ones(images), drawn])).float()
        self._classes = 0
        self._sums = {way: torch.zeros(4, RESAMPLES + 1, dtype=torch.float64) for way in WAYS}

    def add(self, told: Mapping[str, Tensor], positive: Tensor) -> Tensor:
        """A block of classes: what each way tells, and what is right, `[N, C]`; F1 `[C]` of `each`."""
        self._classes += positive.shape[1]
        right = (self._weights @ positive.float()).double()
        found = {}
        for way, one in told.items():
            hits, all_told = ((self._weights @ chosen.float()).double() for chosen in (one & positive, one))
            f1 = 2 * hits / (all_told + right).clamp_min(1)
            self._sums[way] += torch.stack([part.sum(1) for part in (f1, hits, all_told, right)])
            found[way] = f1[0]
        return found["each"]

    def figures(self) -> dict[str, Any]:
        """`Tagged` of each way, and the gain of `each` over `one`."""
        images = float(self._weights[0].sum())
        macro, found = {}, {}
        for way in WAYS:
            f1, hits, told, right = self._sums[way]
            macro[way] = f1 / self._classes
            micro = 2 * hits / (told + right).clamp_min(1)
            found[way] = Tagged(
                macro_f1=float(macro[way][0]),
                macro_f1_interval=_interval(macro[way]),
                micro_f1=float(micro[0]),
                micro_f1_interval=_interval(micro),
                tags_per_image=float(told[0]) / images,
            )
        gain = macro["each"] - macro["one"]
        return {**found, "gain": float(gain[0]), "gain_interval": _interval(gain)}


def _interval(values: Tensor) -> Interval:
    low, high = np.percentile(values[1:].numpy(), (2.5, 97.5))
    return float(low), float(high)
