"""Softmax regression around a prior: the convex problem that a linear probe solves.

With a convex solver the starting point leaves no trace, so Transfer Init enters as the centre of the penalty:

    minimise over W, b   mean cross-entropy(x W^T + b, y)  +  lambda * c^2 * ||W - s W0||^2

`c` is the root mean square norm of the centred training features, so lambda means the same for every tower;
the bias is free. `s = 0` is ordinary L2-regularised softmax regression (a tuned Random Init), infinite lambda
keeps `W = s W0`: zero-shot but for the bias, which sees how frequent classes are and no image's own label.

The optimum differs from `s W0` only inside the span of the training features, so the problem is solved for
that difference in the features' principal axes. There the Hessian is nearly diagonal; scaled by its diagonal
at the start, L-BFGS needs some ten iterations.

Each pass goes over the samples in chunks (`samples`), so memory is the features and little more. For
ImageNet-1k (1.28 million x 768 features, 1,000 classes) the features are 3.7 GiB in float32, or 1.8 in
float16, L-BFGS keeps 43 vectors of K x D (0.25 GiB in float64), and chunks take 0.2 GiB: 5 GiB with the
libraries, on a GPU where there is one with room. One matrix of N x K in float64 would be 9.5. A tenth of the
samples had a peak of 1.65 GiB, 0.8 of them libraries and 0.4 features. A pass is 4 N D K = 3.9 TFLOP.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from catlipctl.transfer.probes.samples import Samples

TOLERANCE = 1e-9
"""Largest gradient (in the preconditioned coordinates) at which a fit counts as done."""

CONVERGED = 1e-5
"""A gradient at which a fit is near enough: rounding ends most above `TOLERANCE`, at 1e-9 to 1e-6."""

SMALL = 2_000_000
"""Numbers in the training features."""


@dataclass(frozen=True)
class Fit:
    """A fitted classifier: weight `[K, D]` and bias `[K]`, float64, for features as the tower gives them.

    converged: the solver ended at the minimum, and not for want of iterations.
    """

    weight: Tensor
    bias: Tensor
    converged: bool = True

    def logits(self, features: Tensor) -> Tensor:
        """`[N, K]`, float64, for features `[N, D]`, on their device."""
        weight, bias = self.weight.to(features.device), self.bias.to(features.device)
        return torch.addmm(bias, features.double(), weight.T)


@contextmanager
def threads_for(features: Tensor) -> Iterator[None]:
    """One thread for small problems: more are no faster, and beside other work far slower."""
    before = torch.get_num_threads()
    if features.numel() < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Problem:
    """The regression on one training set, made ready once and then fitted for many (lambda, s).

    features: `[N, D]`, of any float type; the work is done on their device. labels: `[N]`, int64 in
    `[0, classes)`, every class present. prior: W0, `[K, D]`. rows: the samples that take part (all). dtype:
    what the iterations compute in; float32 takes half the time: enough to compare fits.
    """

    def __init__(
        self,
        features: Tensor,
        labels: Tensor,
        classes: int,
        prior: Tensor | None = None,
        *,
        rows: Tensor | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        device = features.device
        rows = None if rows is None else rows.to(device)
        self.classes = classes
        self.labels = labels.to(device) if rows is None else labels.to(device)[rows]
        self.samples = Samples(features, rows, dtype=dtype, width=classes)
        self.scale = self.samples.scale
        shape = (classes, features.shape[1])
        self.prior = self.scale.new_zeros(shape) if prior is None else prior.to(device).double()
        # The rows of the prior along the axes: of the training features they see no more.
        self._prior = (self.prior @ self.samples.axes * self.scale).to(dtype)

    def path(self, strengths: Iterable[float], s: float, tolerance: float = TOLERANCE) -> Iterator[Fit]:
        """A fit for each lambda of `strengths`, in descending order; each starts at the one before."""
        difference, bias = torch.zeros_like(self._prior), self._prior.new_zeros(self.classes)
        for strength in strengths:
            difference, bias, converged = self._solve(strength, s, difference, bias, tolerance)
            yield self._folded(difference, bias, s, converged)

    def fit(self, strength: float, s: float = 0.0, tolerance: float = TOLERANCE) -> Fit:
        """The optimum at one lambda (`math.inf` keeps `W = s W0`) and one s."""
        return next(self.path([strength], s, tolerance))

    def _solve(
        self, strength: float, s: float, difference: Tensor, bias: Tensor, tolerance: float
    ) -> tuple[Tensor, Tensor, bool]:
        """The difference from s W0 along the axes, and the bias, at the optimum; whether it was reached."""
        fixed = math.isinf(strength)
        if fixed:
            difference, strength = torch.zeros_like(difference), 0.0
        offset = s * self._prior
        diagonal, bias_diagonal = self._curvature(offset + difference, bias)
        diagonal = (diagonal + 2 * strength).clamp_min(1e-12).sqrt()
        bias_diagonal = bias_diagonal.clamp_min(1e-12).sqrt()
        weight, shift = difference * diagonal, bias * bias_diagonal
        free = [shift] if fixed else [weight, shift]

        def closure() -> float:
            raw = weight / diagonal
            loss, gradient, shift.grad = self._loss(offset + raw, shift / bias_diagonal, fixed)
            shift.grad /= bias_diagonal
            if gradient is not None:
                weight.grad = (gradient + 2 * strength * raw) / diagonal
            return loss + strength * float(raw.square().sum())

        torch.optim.LBFGS(
            free,
            max_iter=500,
            history_size=20,
            tolerance_grad=tolerance,
            tolerance_change=1e-14,
            line_search_fn="strong_wolfe",
        ).step(closure)  # type: ignore[arg-type]
        closure()  # the last point that the line search tried is not always the one it kept
        reached = all(
            float(p.grad.abs().max()) <= max(tolerance, CONVERGED) for p in free if p.grad is not None
        )
        return weight / diagonal, shift / bias_diagonal, reached

    def _curvature(self, along: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The diagonal of the loss's Hessian, for the weight `[K, R]` along the axes and for the bias."""
        weight = self.samples.weight(along)
        diagonal, of_bias = torch.zeros_like(along), torch.zeros_like(bias)
        for _, chunk in self.samples.chunks():
            curvature = torch.softmax(torch.addmm(bias, chunk, weight.T), 1)
            curvature = curvature * (1 - curvature)
            diagonal.addmm_(curvature.T, self.samples.along(chunk).square())
            of_bias += curvature.sum(0)
        return diagonal / len(self.samples), of_bias / len(self.samples)

    def _loss(self, along: Tensor, bias: Tensor, fixed: bool) -> tuple[float, Tensor | None, Tensor]:
        """Mean cross-entropy, its gradient for the weight along the axes (None if `fixed`), for the bias."""
        weight = self.samples.weight(along)
        loss = self.scale.new_zeros(())
        gradient, of_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for part, chunk in self.samples.chunks():
            labels = self.labels[part, None]
            residual = torch.log_softmax(torch.addmm(bias, chunk, weight.T), 1)
            loss -= residual.gather(1, labels).double().sum()
            residual.exp_().scatter_add_(1, labels, residual.new_full(labels.shape, -1))
            if not fixed:
                gradient.addmm_(residual.T, chunk)
            of_bias += residual.sum(0)
        count = len(self.samples)
        return (
            float(loss) / count,
            None if fixed else self.samples.along(gradient) / count,
            of_bias / count,
        )

    def _folded(self, difference: Tensor, bias: Tensor, s: float, converged: bool) -> Fit:
        weight = s * self.prior + difference.double() @ self.samples.axes.T / self.scale
        # The softmax does not see a constant added to all logits: the one without is taken.
        bias = (bias - bias.mean()).double() - weight @ self.samples.mean
        return Fit(weight.cpu(), bias.cpu(), converged)
