"""The regressions against scikit-learn's, class by class, and what must hold at their optimum."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from catlipctl.transfer.probes import logistic
from catlipctl.transfer.probes.logistic import LogisticProblem

CLASSES, WIDTH, SAMPLES = 5, 9, 120


def drawn() -> tuple[Tensor, Tensor, Tensor]:
    """Features with an offset and unequal scales, classes of unequal share, the last of no image; a prior."""
    generator = torch.Generator().manual_seed(0)
    features = 3 + torch.randn(SAMPLES, WIDTH, generator=generator) * torch.linspace(0.2, 3, WIDTH)
    truth = torch.randn(CLASSES, WIDTH, generator=generator)
    noisy = (features - 3) @ truth.T + 4 * torch.randn(SAMPLES, CLASSES, generator=generator)
    targets = noisy > torch.tensor([0.0, 2, 5, 10, math.inf])
    return features.double(), targets, torch.randn(CLASSES, WIDTH, generator=generator).double()


@pytest.mark.parametrize("strength", [1e-4, 1e-2, 1.0])
def test_without_prior_each_class_is_scikit_learns_optimum(
    strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, targets, _ = drawn()
    problem = LogisticProblem(features, targets)
    fit = problem.fit(strength)
    assert fit.converged
    # The half images at the mean, of which the last class has nothing else.
    scaled = np.vstack([(features - features.mean(0)) / problem.scale, np.zeros((2, WIDTH))])
    counts = np.array([1.0] * SAMPLES + [0.5, 0.5])
    for c in range(CLASSES):
        theirs = LogisticRegression(C=1 / (2 * strength * SAMPLES), tol=1e-10, max_iter=10_000)
        theirs.fit(scaled, np.append(targets[:, c].numpy(), [True, False]), sample_weight=counts)
        expected = theirs.decision_function(scaled[:SAMPLES])
        np.testing.assert_allclose(fit.logits(features)[:, c].numpy(), expected, atol=1e-3)
    monkeypatch.setattr(logistic, "MOST_CLASSES", 2)
    in_blocks = LogisticProblem(features, targets).fit(strength)
    torch.testing.assert_close(in_blocks.weight, fit.weight, atol=1e-5, rtol=0)


def test_a_prior_is_a_regression_with_an_offset() -> None:
    """Autograd on the objective as it is written, from a random start, ends at the same minimum."""
    features, targets, prior = drawn()
    problem, s, strength = LogisticProblem(features, targets, prior), 0.7, 0.03
    fit = problem.fit(strength, s)
    weight = torch.randn_like(prior).requires_grad_()
    bias = torch.zeros(CLASSES).double().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=5000, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )
    half = torch.full((CLASSES,), 0.5).double()

    def closure() -> Tensor:
        optimiser.zero_grad()
        bce = torch.nn.functional.binary_cross_entropy_with_logits
        loss = bce(features @ weight.T + bias, targets.double(), reduction="sum") / SAMPLES
        loss = loss + bce(features.mean(0) @ weight.T + bias, half, reduction="sum") / SAMPLES
        loss = loss + strength * problem.scale**2 * (weight - s * prior).square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    torch.testing.assert_close(fit.weight, weight.detach(), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(fit.bias, bias.detach(), atol=1e-3, rtol=1e-3)


def test_an_infinite_strength_keeps_the_prior_and_learns_how_frequent_classes_are() -> None:
    features, targets, prior = drawn()
    fit = LogisticProblem(features, targets, prior).fit(math.inf, 0.5)
    torch.testing.assert_close(fit.weight, 0.5 * prior)
    told = fit.logits(features).sigmoid().sum(0) + (fit.logits(features.mean(0)[None]).sigmoid()[0] - 0.5)
    torch.testing.assert_close(told, targets.sum(0).double(), atol=1e-4, rtol=1e-4)


def test_a_path_ends_where_a_fit_of_its_own_does() -> None:
    features, targets, prior = drawn()
    problem = LogisticProblem(features, targets, prior)
    *_, last = problem.path([math.inf, 1.0, 0.1, 0.01], 0.3)
    torch.testing.assert_close(last.weight, problem.fit(0.01, 0.3).weight, atol=1e-5, rtol=0)
