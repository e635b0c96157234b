"""A classifier's answers on test images that may have several labels each."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor

from catlipctl.transfer.metrics.answers import PREDICTIONS
from catlipctl.transfer.metrics.intervals import Interval
from catlipctl.transfer.metrics.mean_average_precision import (
    mean_average_precision,
    mean_average_precision_intervals,
)

LIKELIEST = 5
"""Labels of an image that the table of answers tells."""
SCORES = "scores.safetensors"
MOST_SCORES = 2**28
"""Bytes of the largest such file; of more images and classes none is kept."""


class ClassPrecision(BaseModel):
    """A class of the test images: how many have it, and the average precision; None where none has it."""

    label: str
    images: int
    average_precision: float | None


class Precisions(BaseModel):
    """Mean average precisions in 0..1, each with its interval (`metrics.mean_average_precision`).

    empty_classes: without a positive test image, and so left out of the macro mean. chance_map: the macro
    mean of answers at random: the mean share of images that have a class. labels_per_image: of the test
    images.
    """

    macro_map: float
    macro_map_interval: Interval
    micro_map: float
    micro_map_interval: Interval
    weighted_map: float
    weighted_map_interval: Interval
    chance_map: float
    empty_classes: int
    labels_per_image: float
    test_images: int
    per_class: list[ClassPrecision]


@dataclass(frozen=True)
class MultiLabelAnswers:
    """logits: `[N, K]`. labels: `[N, K]`, bool, the true classes. samples: N names of the test images."""

    logits: Tensor
    labels: Tensor
    samples: Sequence[str]

    def means(self) -> dict[str, float]:
        """The three mean average precisions alone."""
        found = mean_average_precision(self.logits, self.labels)
        means = {"macro": found.macro, "micro": found.micro, "weighted": found.weighted}
        return {f"{name}_map": float(mean) for name, mean in means.items()}

    def figures(self, seed: int, classes: Sequence[str]) -> dict[str, Any]:
        """The fields of `Precisions`; resamples are drawn by `seed`. classes: their labels."""
        found = mean_average_precision(self.logits, self.labels)
        intervals = mean_average_precision_intervals(self.logits, self.labels, seed)
        images = self.labels.sum(0)
        each = zip(classes, images.tolist(), found.per_class[0].tolist(), strict=True)
        return {
            **self.means(),
            **{f"{name}_map_interval": ends for name, ends in intervals.items()},
            "chance_map": float(images[images > 0].double().mean() / len(self.labels)),
            "empty_classes": int((images == 0).sum()),
            "labels_per_image": float(self.labels.sum() / len(self.labels)),
            "test_images": len(self.labels),
            "per_class": [
                ClassPrecision(label=name, images=count, average_precision=value if count else None)
                for name, count, value in each
            ],
        }

    def files(self, classes: Sequence[str]) -> dict[str, str]:
        """What an evaluation keeps of them, by file name."""
        return {PREDICTIONS: self.table(classes)}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """What an evaluation keeps of them as safetensors files, so that models can be compared in pairs.

        scores: the logits `[N, K]`, float16, of the images in the order of the table. labels: `[N, K]`, bool.
        """
        if 3 * self.logits.numel() > MOST_SCORES:
            return {}
        return {SCORES: {"scores": self.logits.half(), "labels": self.labels}}

    def table(self, classes: Sequence[str]) -> str:
        """As CSV: sample, truth, and the likeliest labels, each with its probability (sigmoid).

        Labels of one cell are parted by `; `.
        """
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["sample", "truth", "likeliest"])
        best = self.logits.sigmoid().topk(min(LIKELIEST, self.logits.shape[1]), 1)
        rows = zip(self.samples, self.labels, best.indices.tolist(), best.values.tolist(), strict=True)
        for sample, truth, ids, values in rows:
            likeliest = [f"{classes[i]} {value:.4g}" for i, value in zip(ids, values, strict=True)]
            names = [classes[i] for i in torch.where(truth)[0].tolist()]
            writer.writerow([sample, "; ".join(names), "; ".join(likeliest)])
        return stream.getvalue()
