"""Each sparse loss against a dense formula, in value and gradient; and what all have in common."""

import math
from collections.abc import Callable
from functools import partial

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import Tensor

from catlipctl.objectives.losses import Pairs, bce, label_loss, pairs
from catlipctl.settings.losses import AsymmetricSettings, LabelSettings, TwoWaySettings

Dense = Callable[[Tensor, Tensor, Tensor], Tensor]


def dense_bce(logits: Tensor, positive: Tensor, weights: Tensor) -> Tensor:
    terms = F.binary_cross_entropy_with_logits(
        logits, positive.to(logits), pos_weight=weights, reduction="none"
    )
    return terms.sum() / len(logits)


def dense_softmax(logits: Tensor, positive: Tensor, weights: Tensor) -> Tensor:
    return F.cross_entropy(logits, F.normalize(positive * weights, p=1, dim=1))


def dense_asymmetric(
    logits: Tensor, positive: Tensor, weights: Tensor, *, up: float, down: float, margin: float
) -> Tensor:
    p = logits.sigmoid()
    q = (p - margin).clamp(min=0)
    log_p, log_not_q = F.logsigmoid(logits), F.logsigmoid(-logits) if margin == 0 else (1 - q).log()
    terms = torch.where(positive, -weights * (1 - p) ** up * log_p, -(q**down) * log_not_q)
    return terms.sum() / len(logits)


def dense_two_way(logits: Tensor, positive: Tensor, weights: Tensor, *, up: float, down: float) -> Tensor:
    above = logits.masked_fill(positive, -torch.inf) / down
    below = (-logits / up + weights.log()).masked_fill(~positive, -torch.inf)
    parts = []
    for dim in (1, 0):
        has = (positive & (weights > 0)).any(dim) & ~positive.all(dim)
        sums = [of.movedim(dim, -1)[has].logsumexp(-1) for of in (above, below)]
        parts.append(F.softplus(down * sums[0] + up * sums[1], threshold=40).sum())
    return parts[0] / len(logits) + parts[1] / (positive & (weights > 0)).any(0).sum().clamp(min=1)


def dense_soft_margin(logits: Tensor, positive: Tensor, weights: Tensor) -> Tensor:
    if bool((weights == 1).all()):
        return F.multilabel_soft_margin_loss(logits, positive.to(logits))
    return dense_bce(logits, positive, weights) / logits.shape[1]


CASES: list[tuple[LabelSettings, Dense]] = [
    (LabelSettings(loss="bce"), dense_bce),
    (LabelSettings(loss="soft_margin"), dense_soft_margin),
    (LabelSettings(loss="softmax"), dense_softmax),
    (LabelSettings(loss="asymmetric"), partial(dense_asymmetric, up=0, down=4, margin=0.05)),
    (
        LabelSettings(
            loss="asymmetric", asymmetric=AsymmetricSettings(positive_focus=1, negative_focus=0.5, margin=0)
        ),
        partial(dense_asymmetric, up=1, down=0.5, margin=0),
    ),
    (LabelSettings(loss="two_way"), partial(dense_two_way, up=4, down=1)),
    (
        LabelSettings(
            loss="two_way", two_way=TwoWaySettings(positive_temperature=0.5, negative_temperature=2)
        ),
        partial(dense_two_way, up=0.5, down=2),
    ),
]
EACH = pytest.mark.parametrize(
    ("told", "dense"), CASES, ids=[f"{number} {case.loss}" for number, (case, _) in enumerate(CASES)]
)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[Tensor, Pairs, Tensor, Tensor]:
    """Logits, pairs in any order with repeats, and the same dense: positives `[B, V]` and weights `[V]`."""
    images, classes = draw(st.integers(1, 9)), draw(st.integers(1, 30))
    pair = st.tuples(st.integers(0, images - 1), st.integers(0, classes - 1))
    found = draw(st.lists(pair, max_size=50))
    found += draw(st.lists(st.sampled_from(found), max_size=10)) if found else []
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.1, 5.0, 60.0]))
    logits = torch.randn(images, classes, generator=generator, dtype=torch.float64) * scale
    weights = torch.ones(classes, dtype=torch.float64)
    if draw(st.booleans()):
        # Some are 0, as those of sub-words that every caption has.
        weights = torch.rand(classes, generator=generator, dtype=torch.float64).sub_(0.2).clamp_(min=0)
    index = torch.tensor(found, dtype=torch.int64).reshape(-1, 2)
    rows, ids = index[:, 0], index[:, 1]
    positive = torch.zeros(images, classes, dtype=torch.bool)
    positive[rows, ids] = True
    given_weights = None if draw(st.booleans()) and bool((weights == 1).all()) else weights[ids]
    return logits, Pairs(rows, ids, given_weights), positive, weights


@EACH
@settings(max_examples=40, deadline=None)
@given(case=labelled(), chunk=st.sampled_from([1, 64, 1 << 18]))
def test_equals_the_dense_formula_in_value_and_gradient(
    told: LabelSettings, dense: Dense, case: tuple[Tensor, Pairs, Tensor, Tensor], chunk: int
) -> None:
    logits, labels, positive, weights = case
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "CHUNK", chunk)
        loss, expected = label_loss(told)(ours, labels), dense(theirs, positive, weights)
        (3 * loss).backward()
        (3 * expected).backward()
    assert theirs.grad is not None
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours.grad, theirs.grad.nan_to_num(), rtol=1e-9, atol=1e-12)


@EACH
def test_far_out_nothing_is_infinite(told: LabelSettings, dense: Dense) -> None:  # noqa: ARG001
    """In float32, where a probability is 0 or 1; an image has all classes, another none."""
    logits = torch.tensor([[500.0, -500.0, 0.0], [-500.0, 500.0, 120.0], [0.0, 90.0, -90.0]])
    logits.requires_grad_()
    labels = Pairs(torch.tensor([0, 0, 0, 2]), torch.tensor([0, 1, 2, 2]))
    loss = label_loss(told)(logits, labels)
    loss.backward()
    assert logits.grad is not None
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


@EACH
def test_is_computed_in_float32_and_makes_no_second_matrix(told: LabelSettings, dense: Dense) -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(16, 500)
    images, labels = torch.randn(8, 16), Pairs(torch.arange(8), torch.arange(8) * 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = linear(images)
        logits.retain_grad()
        kept: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda value: kept.append(value) or value, lambda v: v):
            loss = label_loss(told)(logits, labels)
    loss.backward()
    exact = logits.detach().double().requires_grad_()
    positive = torch.zeros(8, 500, dtype=torch.bool)
    positive[labels.rows, labels.classes] = True
    expected = dense(exact, positive, torch.ones(500, dtype=torch.float64))
    expected.backward()
    assert logits.grad is not None
    assert exact.grad is not None
    assert (logits.dtype, loss.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits.grad, exact.grad.bfloat16(), rtol=2**-7, atol=1e-8)
    assert {value.data_ptr() for value in kept if value.numel() >= logits.numel()} == {logits.data_ptr()}


@EACH
def test_without_labels_images_count_and_nothing_is_nan(told: LabelSettings, dense: Dense) -> None:
    none = torch.empty(0, dtype=torch.int64)
    logits = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    loss = label_loss(told)(logits, Pairs(none, none))
    loss.backward()
    expected = dense(logits.detach(), torch.zeros(4, 6, dtype=torch.bool), torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(loss, expected)
    assert logits.grad is not None
    assert bool(logits.grad.any()) == (told.loss not in ("softmax", "two_way"))


def test_bce_starts_at_v_ln_2() -> None:
    none = torch.empty(0, dtype=torch.int64)
    loss = bce(torch.zeros(4, 24_320), Pairs(none, none))
    assert loss.item() == pytest.approx(24_320 * math.log(2))
