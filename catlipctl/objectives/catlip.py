"""CatLIP's objective: multi-label classification by binary cross-entropy, without ever making a dense target.

CatLIP section 3.1; as released it is summed over classes and divided by the number of images, so that it
starts at V ln 2 an image: `sum softplus(z) - sum_{positives} z`, over B.
"""

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from catlipctl.data.batch import Batch
from catlipctl.objectives.objective import Context, LabelCollate, Objective, Output

CHUNK = 1 << 18
"""Logits worked on at once: in float32 a megabyte, which stays in a core's cache."""
CUDA_CHUNK = 1 << 24
"""On a GPU launching is what costs; 64 MB is still small beside the logits."""


class Catlip(Objective):
    """Sparse binary cross-entropy on the head's logits (CatLIP 3.1)."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert context.encode is not None
        self.collate = LabelCollate(context.encode)

    @classmethod
    def build(cls, settings: None, context: Context) -> Self:  # noqa: ARG003
        """It has no settings."""
        return cls(context)

    def forward(self, batch: Batch) -> Output:
        """The loss, RangeAugment's included; labels an image, and the share of images that have none."""
        images, losses = self.pixels(batch)
        classes, counts = batch.targets["classes"], batch.targets["counts"]
        rows = torch.arange(len(batch), device=counts.device)
        # Told the output's size, the host need not wait for the device to know it.
        rows = rows.repeat_interleave(counts, output_size=len(classes))
        logits = self.model(images)
        loss = sparse_bce(logits, rows, classes)
        parts = {"labels": counts.float().mean(), "unlabelled": (counts == 0).float().mean(), **losses}
        return Output(sum(losses.values(), loss), parts, None if self.training else logits)


def sparse_bce(logits: Tensor, rows: Tensor, classes: Tensor) -> Tensor:
    """Binary cross-entropy summed over classes, mean over images.

    logits: `[B, V]`. rows, classes: `[P]`, int64: image `rows[p]` has class `classes[p]`; a pair may repeat.
    Computed in float32 (float64 where the logits are), whatever autocast says. Beside the logits and their
    gradient nothing of size B x V is made, and the host never waits for the device.
    Equals `binary_cross_entropy_with_logits(logits, targets, reduction="sum") / B`.
    """
    loss: Tensor = _SparseBCE.apply(logits, rows, classes)
    return loss


class _SparseBCE(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, rows: Tensor, classes: Tensor) -> Tensor:
        ctx.save_for_backward(logits, rows, classes)
        precision = _precision(logits)
        # The default threshold, 20, leaves out exp(-20): more than float64 rounds off.
        sums = [F.softplus(piece.to(precision), threshold=40).sum() for piece in _chunks(logits)]
        negatives = torch.stack(sums).sum()
        return (negatives - _sum_of_positives(logits, rows, classes, precision)) / logits.shape[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        logits, rows, classes = ctx.saved_tensors
        precision = _precision(logits)
        scale = gradient.to(precision) / logits.shape[0]
        result = torch.empty_like(logits)
        for piece, of in zip(_chunks(result), _chunks(logits), strict=True):
            piece.copy_(torch.sigmoid(of.to(precision)).mul_(scale))
        # sigmoid(z) - 1 as -sigmoid(-z): exact in low precision too, and the same when a pair repeats.
        positives = torch.sigmoid(-logits[rows, classes].to(precision)).mul_(-scale)
        result[rows, classes] = positives.to(result.dtype)
        return result, None, None


def _sum_of_positives(logits: Tensor, rows: Tensor, classes: Tensor, precision: torch.dtype) -> Tensor:
    """The sum of the logits at the pairs, each once. No shape depends on a value: nothing is waited for."""
    pairs = (rows * logits.shape[1] + classes).sort().values
    first = torch.ones_like(pairs, dtype=torch.bool)
    first[1:] = pairs[1:] != pairs[:-1]
    values = logits[pairs // logits.shape[1], pairs % logits.shape[1]].to(precision)
    return torch.where(first, values, torch.zeros_like(values)).sum()


def _precision(logits: Tensor) -> torch.dtype:
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def _chunks(logits: Tensor) -> tuple[Tensor, ...]:
    """Whole rows, as many as make a chunk."""
    size = CUDA_CHUNK if logits.is_cuda else CHUNK
    return logits.split(max(1, size // max(1, logits.shape[1])))
