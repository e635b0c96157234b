"""Thresholds against scikit-learn, scipy and a count of all cuts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from catlipctl.transfer.tagging.captions import Named
from catlipctl.transfer.tagging.fitting import Fit, by_threshold, grid_of
from catlipctl.transfer.tagging.scored import Scored
from catlipctl.transfer.tagging.thresholds import BIAS_PRECISION, SLOPE_PRECISION, best_cuts, scaling


def drawn(images: int, shifts: tuple[float, ...], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of classes that are each right with the probability sigmoid(1.5 z + shift)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, len(shifts), generator=generator) * 2 - 1
    chance = (1.5 * logits + torch.tensor(shifts)).sigmoid()
    return logits, torch.rand(logits.shape, generator=generator) < chance


def test_the_scaling_is_a_logistic_regression() -> None:
    logits, positive = drawn(400, (0.0, -2.0))
    slopes, biases = scaling(logits, positive, precision=0)
    for c in range(2):
        features = logits[:, [c]].double().numpy()
        theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(features, positive[:, c].numpy())
        assert slopes[c] == pytest.approx(theirs.coef_[0, 0], rel=1e-4)
        assert biases[c] == pytest.approx(theirs.intercept_[0], rel=1e-4)


def test_the_prior_holds_a_class_of_few_and_one_of_none() -> None:
    logits, positive = drawn(200, (0.0, -4.0, 0.0))
    positive[:, 2] = False
    slopes, biases = scaling(logits, positive, 1.2, -0.3)
    for c in range(3):
        z, y = logits[:, c].double().numpy(), positive[:, c].numpy()

        def loss(x: np.ndarray, z: np.ndarray = z, y: np.ndarray = y) -> float:
            margin = x[0] * z + x[1]
            fit = np.logaddexp(0, margin).sum() - margin[y].sum()
            prior = SLOPE_PRECISION * (x[0] - 1.2) ** 2 + BIAS_PRECISION * (x[1] + 0.3) ** 2
            return float(fit + prior / 2)

        best = minimize(loss, (1.2, -0.3), method="BFGS", options={"gtol": 1e-8}).x
        assert (float(slopes[c]), float(biases[c])) == pytest.approx(tuple(best), abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.floats(0.01, 1)), min_size=1, max_size=12))
def test_no_cut_has_a_higher_expected_f1(pairs: list[tuple[int, float]]) -> None:
    logits = torch.tensor([[float(logit)] for logit, _ in pairs])
    chances = torch.tensor([[chance] for _, chance in pairs], dtype=torch.float64)

    def expected(cut: float) -> float:
        told = logits >= cut
        return float(2 * chances[told].sum() / (told.sum() + chances.sum()))

    best = max(expected(float(logit)) for logit in logits)
    assert expected(float(best_cuts(logits, chances))) == pytest.approx(best)


def scored(logits: torch.Tensor, positive: torch.Tensor) -> Scored:
    """Classes with these logits: features are the logits, and the head is the identity."""
    images, classes = positive.T.nonzero()[:, 1], positive.sum(0)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), classes.cumsum(0)])
    named = Named(len(logits), len(classes), images, starts)
    return Scored(logits, torch.eye(len(classes)), torch.zeros(len(classes)), named)


def test_one_threshold_for_all_is_counted_as_scikit_learn_counts() -> None:
    logits, positive = drawn(150, (0.0, -1.0, -3.0))
    made = scored(logits, positive)
    rows = torch.arange(150) % 3 != 0
    for some in (None, rows):
        z, y = (part if some is None else part[some] for part in (logits, positive))
        grid = grid_of(made, [0, 1, 2])
        macro, micro = by_threshold(made, [0, 1, 2], grid, some)
        for place in (0, 40, 128, 255):
            told = z.double() >= grid[place]
            assert macro[place] == pytest.approx(f1_score(y, told, average="macro", zero_division=0))
            assert micro[place] == pytest.approx(f1_score(y, told, average="micro", zero_division=0))


def test_classes_of_few_images_have_the_threshold_for_all() -> None:
    logits, positive = drawn(300, (0.0, -1.0, -6.0))
    made = scored(logits, positive)
    own = made.often(20)
    assert own == [0, 1]
    fit = Fit(made, own, grid_of(made, own))
    cuts = fit.cuts([0, 1, 2])
    assert cuts[2] == fit.one_for_micro
    assert cuts[0] < cuts[1], "a class that is named less for the same logit is told later"
