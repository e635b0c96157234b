"""Cross-entropy of the softmax over all classes against an image's labels, whose weights sum to 1.

SuperClass 3.2, equation 1, as its code has it: an image without a label (or with none of any weight) adds
nothing, and the mean is over all images.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from catlipctl.objectives.losses.pairs import Pairs, chunks, precision

LEAST = 1e-12
"""What weights are divided by at least, as `torch.nn.functional.normalize` has it."""


def softmax(logits: Tensor, pairs: Pairs) -> Tensor:
    """Softmax cross-entropy of `logits [B, V]` against soft targets, mean over images: 0-D.

    Equals `cross_entropy(logits, targets)`, an image's targets its weights over their sum. Beside the logits
    and their gradient nothing of size B x V is made.
    """
    loss: Tensor = _Softmax.apply(logits, *pairs)
    return loss


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, rows: Tensor, classes: Tensor, weights: Tensor | None) -> Tensor:
        pairs, exact = Pairs(rows, classes, weights), precision(logits)
        first = pairs.first(logits.shape[1])
        # In float64: sums on a GPU come in any order, and are rounded to the same float32 so.
        weight = pairs.weighted(torch.ones_like(rows, dtype=torch.float64))
        sums = torch.zeros(len(logits), dtype=torch.float64, device=logits.device)
        sums.index_add_(0, rows, torch.where(first, weight, 0))
        target = (weight / sums.clamp(min=LEAST)[rows]).to(exact)
        share = (sums / sums.clamp(min=LEAST)).to(exact)
        whole = torch.cat([chunk.to(exact).logsumexp(1) for chunk in chunks(logits)])
        ctx.save_for_backward(logits, rows, classes, target, share, whole)
        surprise = target * (whole[rows] - pairs.of(logits))
        return torch.where(first, surprise, 0).sum() / len(logits)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        logits, rows, classes, target, share, whole = ctx.saved_tensors
        exact = precision(logits)
        scale = gradient.to(exact) / len(logits)
        result, begin = torch.empty_like(logits), 0
        for chunk, of in zip(chunks(result), chunks(logits), strict=True):
            own = slice(begin, begin + len(of))
            probabilities = (of.to(exact) - whole[own, None]).exp_()
            chunk.copy_(probabilities.mul_((share[own] * scale)[:, None]))
            begin += len(of)
        at_pairs = (Pairs(rows, classes).of(logits) - whole[rows]).exp_() * share[rows] - target
        result[rows, classes] = at_pairs.mul_(scale).to(result.dtype)
        return result, None, None, None
