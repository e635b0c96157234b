"""Losses in which each class is by itself: a term for each negative and one for each positive.

With few positives the sum is that of all classes as negatives, mended at the pairs. The gradient is written
down: autograd would keep what it makes on the way, several times the logits.
"""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from catlipctl.objectives.losses.pairs import Pairs, chunks, precision


class Terms(Protocol):
    """A term of the loss by its logit, and the term's slope there. All take and give any shape."""

    def negative(self, logits: Tensor) -> Tensor: ...
    def negative_slope(self, logits: Tensor) -> Tensor: ...
    def positive(self, logits: Tensor) -> Tensor: ...
    def positive_slope(self, logits: Tensor) -> Tensor: ...


def separable(logits: Tensor, pairs: Pairs, terms: Terms) -> Tensor:
    """The terms of `logits [B, V]` summed over classes, mean over images. Weights are of positive terms.

    Beside the logits and their gradient nothing of size B x V is made.
    """
    loss: Tensor = _Separable.apply(logits, *pairs, terms)
    return loss


class _Separable(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, rows: Tensor, classes: Tensor, weights: Tensor | None, terms: Terms
    ) -> Tensor:
        pairs = Pairs(rows, classes, weights)
        ctx.save_for_backward(logits, rows, classes, weights)
        ctx.terms = terms
        exact = precision(logits)
        sums = [terms.negative(chunk.to(exact)).sum() for chunk in chunks(logits)]
        own = pairs.of(logits)
        mended = pairs.weighted(terms.positive(own)) - terms.negative(own)
        mended = torch.where(pairs.first(logits.shape[1]), mended, 0).sum()
        return (torch.stack(sums).sum() + mended) / logits.shape[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        logits, rows, classes, weights = ctx.saved_tensors
        pairs, terms, exact = Pairs(rows, classes, weights), ctx.terms, precision(logits)
        scale = gradient.to(exact) / logits.shape[0]
        result = torch.empty_like(logits)
        for chunk, of in zip(chunks(result), chunks(logits), strict=True):
            chunk.copy_(terms.negative_slope(of.to(exact)).mul_(scale))
        # Put there, not added: exact in low precision too, and the same when a pair repeats.
        slopes = pairs.weighted(terms.positive_slope(pairs.of(logits)))
        result[rows, classes] = slopes.mul(scale).to(result.dtype)
        return result, None, None, None, None
