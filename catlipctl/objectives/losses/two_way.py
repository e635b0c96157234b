"""The two-way loss: positives above negatives, among the classes of an image and among the images of a class.

Kobayashi 2023. By image: softplus(N + P), N the log-sum-exp of the negatives' logits and P
that of the positives' negated, each at its temperature. By class the same down the batch. An image without a
label adds nothing to the first part, whose mean is over all images; the second is a mean over the classes
that the batch has. So the second depends on what else is in the batch.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from catlipctl.objectives.losses.pairs import Pairs, chunks, negatives, precision
from catlipctl.settings.losses import TwoWaySettings


def two_way(logits: Tensor, pairs: Pairs, settings: TwoWaySettings) -> Tensor:
    """The two-way loss of `logits [B, V]`: 0-D. A positive's weight is a factor in its log-sum-exp.

    Beside the logits and their gradient nothing of size B x V is made.
    """
    loss: Tensor = _TwoWay.apply(logits, *pairs, settings.positive_temperature, settings.negative_temperature)
    return loss


class _TwoWay(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        rows: Tensor,
        classes: Tensor,
        weights: Tensor | None,
        positive: float,
        negative: float,
    ) -> Tensor:
        pairs = Pairs(rows, classes, weights)
        by_row, by_column = _negatives(logits, pairs, negative)
        positives = _positives(logits, pairs, positive)
        first = pairs.first(logits.shape[1])
        own = torch.where(first, positives, -torch.inf)
        of_rows, of_columns = (
            _logsumexp(own, index, size) for index, size in zip((rows, classes), logits.shape, strict=True)
        )
        row_margins = negative * by_row + positive * of_rows
        column_margins = negative * by_column + positive * of_columns
        # Of a class without a positive it is minus infinity, and its term 0.
        present = of_columns.isfinite().sum().clamp(min=1)
        ctx.save_for_backward(
            *(logits, rows, classes, positives, by_row, by_column, of_rows, of_columns),
            torch.sigmoid(row_margins) / logits.shape[0],
            torch.sigmoid(column_margins) / present,
        )
        ctx.temperature = negative
        by_image = F.softplus(row_margins, threshold=40).sum() / logits.shape[0]
        return by_image + F.softplus(column_margins, threshold=40).sum() / present

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (
            *(logits, rows, classes, positives, by_row, by_column, of_rows, of_columns),
            row_slopes,
            column_slopes,
        ) = ctx.saved_tensors
        scale = gradient.to(precision(logits))
        result, begin = torch.empty_like(logits), 0
        for chunk, of in zip(chunks(result), chunks(logits), strict=True):
            own = slice(begin, begin + len(of))
            scaled = of.to(scale.dtype) / ctx.temperature
            slopes = (scaled - by_row[own, None]).exp_().mul_(row_slopes[own, None])
            slopes += (scaled - by_column).exp_().mul_(column_slopes)
            chunk.copy_(slopes.mul_(scale))
            begin += len(of)
        # The chunks hold no slope of pairs: it is written here. A pair of no weight has none.
        at_pairs = row_slopes[rows] * (positives - of_rows[rows]).exp()
        at_pairs = at_pairs + column_slopes[classes] * (positives - of_columns[classes]).exp()
        at_pairs = torch.where(positives.isfinite(), -at_pairs * scale, 0)
        result[rows, classes] = at_pairs.to(result.dtype)
        return result, None, None, None, None, None


def _positives(logits: Tensor, pairs: Pairs, temperature: float) -> Tensor:
    """The logarithm of each pair's part in its log-sum-exp: `[P]`, minus infinity where it weighs nothing."""
    found = -pairs.of(logits) / temperature
    return found if pairs.weights is None else found + pairs.weights.to(found).log()


def _negatives(logits: Tensor, pairs: Pairs, temperature: float) -> tuple[Tensor, Tensor]:
    """The log-sum-exp of logits over the temperature without the pairs: of each row, of each column."""
    by_row = []
    by_column = torch.full((logits.shape[1],), -torch.inf, dtype=precision(logits), device=logits.device)
    for chunk in negatives(logits, pairs):
        chunk.div_(temperature)
        by_row.append(chunk.logsumexp(1))
        by_column = torch.logaddexp(by_column, chunk.logsumexp(0))
    return torch.cat(by_row), by_column


def _logsumexp(values: Tensor, index: Tensor, size: int) -> Tensor:
    """`[size]`: at i the log-sum-exp of the values whose index is i, minus infinity where there are none."""
    largest = torch.full((size,), -torch.inf, dtype=values.dtype, device=values.device)
    largest = largest.scatter_reduce(0, index, values, "amax").nan_to_num(neginf=0.0)
    sums = torch.zeros_like(largest).index_add_(0, index, (values - largest[index]).exp())
    return sums.log() + largest
