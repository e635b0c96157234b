"""The regression against scikit-learn, closed forms, and what must hold at its optimum."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from catlipctl.transfer.probes.solver import Problem

CLASSES, WIDTH = 4, 9


def drawn(samples: int = 120, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features with an offset and unequal scales, labels that no plane separates, and a prior."""
    generator = torch.Generator().manual_seed(seed)
    features = 3 + torch.randn(samples, WIDTH, generator=generator) * torch.linspace(0.2, 3, WIDTH)
    truth = torch.randn(CLASSES, WIDTH, generator=generator)
    noisy = features @ truth.T + 8 * torch.randn(samples, CLASSES, generator=generator)
    labels = noisy.argmax(1)
    labels[:CLASSES] = torch.arange(CLASSES)
    return features.double(), labels, torch.randn(CLASSES, WIDTH, generator=generator).double()


@pytest.mark.parametrize("strength", [1e-4, 1e-2, 1.0])
def test_without_prior_it_is_scikit_learns_optimum(strength: float) -> None:
    features, labels, _ = drawn()
    problem = Problem(features, labels, CLASSES)
    fit = problem.fit(strength)
    # sum of losses + ||w||^2 / (2 C) on scaled features is N times our objective.
    scaled = (features - features.mean(0)) / problem.scale
    theirs = LogisticRegression(C=1 / (2 * strength * len(labels)), tol=1e-10, max_iter=10_000)
    theirs.fit(scaled.numpy(), labels.numpy())
    expected = theirs.predict_proba(scaled.numpy())
    np.testing.assert_allclose(fit.logits(features).softmax(1).numpy(), expected, atol=1e-4)
    np.testing.assert_allclose((fit.weight * problem.scale).numpy(), theirs.coef_, atol=1e-4)


def test_a_prior_is_l2_regression_with_an_offset() -> None:
    """Autograd on the objective as it is written, from a random start, ends at the same minimum."""
    features, labels, prior = drawn()
    problem, s, strength = Problem(features, labels, CLASSES, prior), 0.7, 0.03
    fit = problem.fit(strength, s)
    weight = torch.randn_like(prior).requires_grad_()
    bias = torch.zeros(CLASSES).double().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=5000, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(features @ weight.T + bias, labels)
        loss = loss + strength * problem.scale**2 * (weight - s * prior).square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    assert torch.allclose(fit.weight, weight, atol=1e-4)
    logits, expected = fit.logits(features), features @ weight.T + bias
    assert torch.allclose(logits.softmax(1), expected.softmax(1), atol=1e-4)


def test_infinite_lambda_keeps_the_prior_and_calibrates_the_bias() -> None:
    features, labels, prior = drawn()
    problem = Problem(features, labels, CLASSES, prior)
    fit = problem.fit(math.inf, 0.5)
    assert torch.equal(fit.weight, 0.5 * prior)
    share = torch.bincount(labels, minlength=CLASSES) / len(labels)
    assert torch.allclose(fit.logits(features).softmax(1).mean(0), share.double(), atol=1e-6)
    nearly = problem.fit(1e5, 0.5)
    assert torch.allclose(nearly.weight, fit.weight, atol=1e-4)


def test_lambda_zero_is_unregularised_whatever_the_prior() -> None:
    features, labels, prior = drawn(400)
    theirs = LogisticRegression(C=np.inf, tol=1e-12, max_iter=100_000).fit(features.numpy(), labels.numpy())
    fit = Problem(features, labels, CLASSES, prior).fit(0.0, 1.0)
    ours = fit.logits(features).softmax(1).numpy()
    np.testing.assert_allclose(ours, theirs.predict_proba(features.numpy()), atol=1e-4)


@pytest.mark.parametrize("samples", [5, WIDTH, 200])
def test_fewer_images_than_features_and_constant_features(samples: int) -> None:
    """The gradient of the objective as written is zero at the fit, in all D features."""
    features, labels, prior = drawn(samples)
    features[:, 2] = 1.0
    problem = Problem(features, labels, CLASSES, prior)
    fit = problem.fit(0.01, 1.0)
    residual = (fit.logits(features).softmax(1) - torch.nn.functional.one_hot(labels, CLASSES)) / samples
    gradient = residual.T @ features + 2 * 0.01 * problem.scale**2 * (fit.weight - prior)
    assert gradient.abs().max() < 1e-6
    assert residual.sum(0).abs().max() < 1e-7


def test_a_fit_says_whether_it_reached_its_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, prior = drawn()
    assert Problem(features, labels, CLASSES, prior).fit(1e-3, 0.5).converged
    optimiser = torch.optim.LBFGS

    def hasty(*arguments: Any, **options: Any) -> torch.optim.LBFGS:
        return optimiser(*arguments, **{**options, "max_iter": 2})

    monkeypatch.setattr(torch.optim, "LBFGS", hasty)
    assert not Problem(features, labels, CLASSES, prior).fit(1e-3, 0.5).converged


def test_a_path_ends_where_single_fits_do() -> None:
    features, labels, prior = drawn()
    problem = Problem(features, labels, CLASSES, prior)
    strengths = [math.inf, 1.0, 0.01, 1e-4]
    for strength, fit in zip(strengths, problem.path(strengths, 0.3), strict=True):
        alone = problem.fit(strength, 0.3)
        assert torch.allclose(fit.weight, alone.weight, atol=1e-5)
        assert torch.allclose(fit.bias, alone.bias, atol=1e-4)
