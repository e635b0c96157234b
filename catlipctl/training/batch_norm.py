"""BatchNorm over the images of all processes: the statistics, and so the losses, of one process.

torch's `SyncBatchNorm` runs on GPUs only, and counts each process's rows whether or not they count. Here
modules keep their class's names, parameters and buffers, so a checkpoint is the same.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm


def synchronise(module: nn.Module, counts: Callable[[], bool]) -> None:
    """Have each BatchNorm in `module` take its statistics over all processes while it trains.

    counts: whether the images at work count. All processes call forward and backward equally often.
    """
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.__class__ = _synchronised(type(part))  # type: ignore[arg-type]
            part.counts = counts  # type: ignore[assignment]


class Synchronised(_BatchNorm):
    """What is mixed into a class of BatchNorm, torch's or timm's (which drops and activates, too)."""

    counts: Callable[[], bool]

    def forward(self, input: Tensor) -> Tensor:
        """As the class does it, but for the statistics in training."""
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        normalised = self._normalised(input)
        for name in ("drop", "act"):
            if hasattr(self, name):
                normalised = getattr(self, name)(normalised)
        return normalised

    @torch.compiler.disable
    def _normalised(self, images: Tensor) -> Tensor:
        normalised, mean, variance, count = _Normalise.apply(
            images, self.weight, self.bias, self.eps, self.counts()
        )
        means, variances, seen = self.running_mean, self.running_var, self.num_batches_tracked
        if means is not None and variances is not None and seen is not None:
            with torch.no_grad():
                seen.add_(1)
                share = 1 / seen if self.momentum is None else self.momentum
                unbiased = variance * (count / (count - 1).clamp(min=1))
                means.lerp_(mean.to(means), share)
                variances.lerp_(unbiased.to(variances), share)
        return normalised


@cache
def _synchronised(kind: type[_BatchNorm]) -> type[_BatchNorm]:
    return type(kind.__name__, (Synchronised, kind), {"__module__": kind.__module__})


class _Normalise(torch.autograd.Function):
    """Images `[B, C, ...]` normalised; the mean `[C]`, the biased variance `[C]` and how many they are of."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, counts: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        exact = images.to(torch.promote_types(images.dtype, torch.float32))
        dims = [dim for dim in range(images.ndim) if dim != 1]
        own = exact.new_tensor([float(counts * images.numel() // images.shape[1])])
        variance, mean = torch.var_mean(exact, dims, correction=0)
        all_counts, means, variances = _gathered(own, mean, variance)
        count = all_counts.sum()
        shares = all_counts / count
        # What does not count may be infinite.
        means, variances = (torch.where(shares > 0, of, 0.0) for of in (means, variances))
        mean = (shares * means).sum(0)
        variance = (shares * (variances + (means - mean).square())).sum(0)
        ctx.save_for_backward(images, weight, mean, (variance + eps).rsqrt(), count)
        ctx.dims, ctx.counts = dims, counts
        normalised = F.batch_norm(images, mean, variance, weight, bias, training=False, eps=eps)
        ctx.mark_non_differentiable(mean, variance, count)
        return normalised, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, mean, inverse, count = ctx.saved_tensors
        shape = [1, -1] + [1] * (images.ndim - 2)
        gradient = gradient.to(mean.dtype)
        standard = (images.to(mean.dtype) - mean.view(shape)) * inverse.view(shape)
        own = torch.stack([gradient.sum(ctx.dims), (gradient * standard).sum(ctx.dims)])
        if not ctx.counts:
            own = torch.zeros_like(own)
        # Through the statistics each process's loss depends on all processes' images.
        everywhere = own.clone()
        dist.all_reduce(everywhere)
        if ctx.counts:
            by_mean, by_variance = (of.view(shape) for of in (everywhere / count).unbind())
            gradient = gradient - by_mean - standard * by_variance
        to_bias, to_weight = own.unbind()
        scale = inverse if weight is None else inverse * weight.to(inverse)
        return (
            (gradient * scale.view(shape)).to(images.dtype),
            to_weight.to(weight) if ctx.needs_input_grad[1] else None,
            to_bias.to(weight) if ctx.needs_input_grad[2] else None,
            None,
            None,
        )


def _gathered(count: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of all W processes: `[W, 1]`, `[W, C]`, `[W, C]`."""
    own = torch.cat([count, mean, variance])
    everything = own.new_empty(dist.get_world_size(), len(own))
    dist.all_gather_into_tensor(everything.view(-1), own)
    counts, means, variances = everything.split([1, len(mean), len(variance)], dim=1)
    return counts, means, variances
