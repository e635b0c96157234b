"""Softmax regression around a prior: the convex problem that a linear probe solves.

With a convex solver the starting point leaves no trace, so Transfer Init enters as the centre of the penalty:

    minimise over W, b   mean cross-entropy(x W^T + b, y)  +  lambda * c^2 * ||W - s W0||^2

`c` is the root mean square norm of the centred training features, so lambda means the same for every tower;
the bias is free. `s = 0` is ordinary L2-regularised softmax regression (a tuned Random Init), infinite lambda
keeps `W = s W0`: zero-shot but for the bias, which sees how frequent classes are and no image's own label.

The optimum differs from `s W0` only inside the span of the training features, so the problem is solved for
that difference in the features' principal axes, with `s x W0^T` as a fixed offset of the logits. There the
Hessian is nearly diagonal; scaled by its diagonal at the start, L-BFGS needs some ten iterations.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

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
        """`[N, K]`, float64, for features `[N, D]`."""
        return features.double() @ self.weight.T + self.bias


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

    features: `[N, D]`. labels: `[N]`, int64 in `[0, classes)`, every class present. prior: W0, `[K, D]`.
    dtype: what the iterations compute in; float32 takes half the time: enough to compare fits.
    """

    def __init__(
        self,
        features: Tensor,
        labels: Tensor,
        classes: int,
        prior: Tensor | None = None,
        *,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        features = features.double()
        self.classes = classes
        self.prior = torch.zeros(classes, features.shape[1]).double() if prior is None else prior.double()
        self.mean = features.mean(0)
        centred = features - self.mean
        self.scale = centred.square().sum(1).mean().sqrt().clamp_min(1e-12)
        self.axes = _principal_axes(centred)
        self._coordinates = (centred @ self.axes / self.scale).to(dtype)
        self._prior_logits = (centred @ self.prior.T).to(dtype)
        self._targets = functional.one_hot(labels, classes).to(dtype) / len(labels)

    def path(self, strengths: Iterable[float], s: float, tolerance: float = TOLERANCE) -> Iterator[Fit]:
        """A fit for each lambda of `strengths`, in descending order; each starts at the one before."""
        difference = self._coordinates.new_zeros(self.classes, self._coordinates.shape[1])
        bias = self._coordinates.new_zeros(self.classes)
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
        samples = len(self._targets)
        offset = s * self._prior_logits
        free = 0 if math.isinf(strength) else self._coordinates.shape[1]
        coordinates, penalty = self._coordinates[:, :free], 0.0 if free == 0 else strength
        start = torch.softmax(offset + bias + coordinates @ difference[:, :free].T, 1)
        curvature = start * (1 - start) / samples
        diagonal = (curvature.T @ coordinates.square() + 2 * penalty).clamp_min(1e-12).sqrt()
        bias_diagonal = curvature.sum(0).clamp_min(1e-12).sqrt()
        weight = difference[:, :free] * diagonal
        shift = bias * bias_diagonal

        def closure() -> float:
            raw = weight / diagonal
            log_probabilities = torch.log_softmax(
                torch.addmm(offset + shift / bias_diagonal, coordinates, raw.T), 1
            )
            residual = log_probabilities.exp() / samples - self._targets
            weight.grad = (residual.T @ coordinates + 2 * penalty * raw) / diagonal
            shift.grad = residual.sum(0) / bias_diagonal
            return -float((log_probabilities * self._targets).sum()) + penalty * float(raw.square().sum())

        torch.optim.LBFGS(
            [weight, shift],
            max_iter=500,
            history_size=20,
            tolerance_grad=tolerance,
            tolerance_change=1e-14,
            line_search_fn="strong_wolfe",
        ).step(closure)  # type: ignore[arg-type]
        closure()  # the last point that the line search tried is not always the one it kept
        gradients = (shift.grad,) if free == 0 else (shift.grad, weight.grad)
        converged = all(float(g.abs().max()) <= max(tolerance, CONVERGED) for g in gradients if g is not None)
        if free == 0:
            return torch.zeros_like(difference), shift / bias_diagonal, converged
        return weight / diagonal, shift / bias_diagonal, converged

    def _folded(self, difference: Tensor, bias: Tensor, s: float, converged: bool) -> Fit:
        weight = s * self.prior + difference.double() @ self.axes.T / self.scale
        # The softmax does not see a constant added to all logits: the one without is taken.
        return Fit(weight, (bias - bias.mean()).double() - weight @ self.mean, converged)


def _principal_axes(centred: Tensor) -> Tensor:
    """`[D, R]`: orthonormal axes that span the rows of `centred`; those without variance are left out."""
    samples, width = centred.shape
    if samples > width:
        values, axes = torch.linalg.eigh(centred.T @ centred)
    else:
        _, singular, rows = torch.linalg.svd(centred, full_matrices=False)
        values, axes = singular.square(), rows.T
    return axes[:, values > values.max() * 1e-12]
