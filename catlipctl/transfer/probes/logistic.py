"""Logistic regressions around a prior, one a class: what a multi-label linear probe solves.

    minimise over w, b   mean binary cross-entropy(x w + b, y)  +  lambda * c^2 * ||w - s w0||^2

for each class alone; `c` and `s w0` are those of `solver`, and the classes share lambda and s. The problem is
solved where that one is: for the difference from `s w0`, in the features' principal axes, scaled by the
diagonal of the Hessian at the start. No number of one class depends on another, so they are solved a block at
a time and of N x K numbers there are never more than a block's.

To each class's images are added half a one that has it and half a one that does not, at the mean of the
features (Jeffreys' prior of the bias): else a class that no training image has would have no minimum.
"""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from catlipctl.transfer.probes.samples import Samples
from catlipctl.transfer.probes.solver import CONVERGED, TOLERANCE, Fit

CELLS_AT_ONCE = 1 << 23
"""Logits of a block of classes."""
MOST_CLASSES = 32
"""Of a block: with more, one step must suit too many classes, and more steps are needed."""


class LogisticProblem:
    """The regressions on one training set, made ready once and then fitted for many (lambda, s).

    features: `[N, D]`. targets: `[N, K]`, bool. prior: W0, `[K, D]`. dtype: what the iterations compute in.
    """

    def __init__(
        self,
        features: Tensor,
        targets: Tensor,
        prior: Tensor | None = None,
        *,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.targets = targets
        shape = (targets.shape[1], features.shape[1])
        self.prior = torch.zeros(shape).double() if prior is None else prior.double()
        samples = Samples(features, None, dtype=torch.float64, width=1)
        self.mean, self.scale, self.axes = samples.mean, samples.scale, samples.axes
        self._coordinates = torch.cat([samples.along(chunk).to(dtype) for _, chunk in samples.chunks()])
        # The rows of the prior in the same coordinates.
        self._prior = (self.prior @ self.axes * self.scale).to(dtype)

    def path(self, strengths: Iterable[float], s: float, tolerance: float = TOLERANCE) -> Iterator[Fit]:
        """A fit for each lambda of `strengths`, in descending order; each starts at the one before."""
        samples, classes = self.targets.shape
        difference = self._coordinates.new_zeros(classes, self._coordinates.shape[1])
        odds = (self.targets.sum(0) + 0.5) / (samples - self.targets.sum(0) + 0.5)
        bias = odds.log().to(difference)
        block = max(1, min(MOST_CLASSES, CELLS_AT_ONCE // samples))
        for strength in strengths:
            converged = True
            for some in torch.arange(classes).split(block):
                difference[some], bias[some], reached = self._solve(
                    some, strength, s, difference[some], bias[some], tolerance
                )
                converged &= reached
            weight = s * self.prior + difference.double() @ self.axes.T / self.scale
            yield Fit(weight, bias.double() - weight @ self.mean, converged)

    def fit(self, strength: float, s: float = 0.0, tolerance: float = TOLERANCE) -> Fit:
        """The optimum at one lambda (`math.inf` keeps `W = s W0`) and one s."""
        return next(self.path([strength], s, tolerance))

    def _solve(
        self, some: Tensor, strength: float, s: float, difference: Tensor, bias: Tensor, tolerance: float
    ) -> tuple[Tensor, Tensor, bool]:
        """The difference from s W0 along the axes, and the bias, of some classes; whether it was reached."""
        samples = len(self.targets)
        targets = self.targets[:, some].to(difference.dtype)
        offset = s * self._coordinates @ self._prior[some].T
        free = 0 if math.isinf(strength) else self._coordinates.shape[1]
        coordinates, penalty = self._coordinates[:, :free], 0.0 if free == 0 else strength
        start = torch.sigmoid(offset + bias + coordinates @ difference[:, :free].T)
        curvature = start * (1 - start) / samples
        diagonal = (curvature.T @ coordinates.square() + 2 * penalty).clamp_min(1e-12).sqrt()
        bias_diagonal = curvature.sum(0).clamp_min(1e-6 / samples).sqrt()
        weight, shift = difference[:, :free] * diagonal, bias * bias_diagonal

        def closure() -> float:
            raw, level = weight / diagonal, shift / bias_diagonal
            logits = torch.addmm(offset + level, coordinates, raw.T)
            residual = (torch.sigmoid(logits) - targets) / samples
            pulled = (torch.sigmoid(level) - 0.5) / samples
            weight.grad = (residual.T @ coordinates + 2 * penalty * raw) / diagonal
            shift.grad = (residual.sum(0) + pulled) / bias_diagonal
            loss = (functional.softplus(logits) - targets * logits).sum() / samples
            added = (functional.softplus(level) - level / 2).sum() / samples
            return float(loss + added) + penalty * float(raw.square().sum())

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
        found = torch.zeros_like(difference) if free == 0 else weight / diagonal
        return found, shift / bias_diagonal, converged
