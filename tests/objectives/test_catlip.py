"""The sparse loss against torch's dense one, in value and gradient."""

import math

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings

from catlipctl import objectives
from catlipctl.data.batch import Batch
from catlipctl.errors import UsageError
from catlipctl.objectives import catlip
from catlipctl.objectives.catlip import sparse_bce


def dense(logits: torch.Tensor, rows: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    targets = torch.zeros_like(logits)
    targets[rows, classes] = 1
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / logits.shape[0]


@st.composite
def cases(draw):
    images, classes = draw(st.integers(1, 9)), draw(st.integers(1, 40))
    pair = st.tuples(st.integers(0, images - 1), st.integers(0, classes - 1))
    pairs = draw(st.lists(pair, max_size=60))
    pairs += draw(st.lists(st.sampled_from(pairs), max_size=10)) if pairs else []
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.1, 5.0, 60.0]))
    logits = torch.randn(images, classes, generator=generator, dtype=torch.float64) * scale
    index = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    return logits, index[:, 0], index[:, 1]


@settings(max_examples=300, deadline=None)
@given(cases(), st.sampled_from([1, 64, 1 << 18]))
def test_equals_torchs_dense_loss_in_value_and_gradient(case, chunk):
    logits, rows, classes = case
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catlip, "CHUNK", chunk)
        loss, expected = sparse_bce(ours, rows, classes), dense(theirs, rows, classes)
        (3 * loss).backward()
        (3 * expected).backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)


def test_starts_at_v_ln_2():
    none = torch.empty(0, dtype=torch.int64)
    assert sparse_bce(torch.zeros(4, 24_320), none, none).item() == pytest.approx(24_320 * math.log(2))


def test_float32_under_autocast():
    torch.manual_seed(0)
    linear = torch.nn.Linear(16, 500)
    images, rows, classes = torch.randn(8, 16), torch.arange(8), torch.arange(8) * 7
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = linear(images)
        logits.retain_grad()
        loss = sparse_bce(logits, rows, classes)
    loss.backward()
    exact = logits.detach().double().requires_grad_()
    expected = dense(exact, rows, classes)
    expected.backward()
    assert (logits.dtype, loss.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(logits.grad, exact.grad.bfloat16(), rtol=2**-7, atol=0)


def test_objective_gives_the_mean_over_images():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 9)).double()
    objective = objectives.create("catlip", model)
    rows, classes = torch.tensor([0, 0, 3, 3]), torch.tensor([1, 5, 2, 2])
    batch = Batch(torch.rand(5, 3, 2, 2).double(), rows, classes, 0, torch.arange(5))
    halves = batch.split(2)
    objective.begin_step(halves)
    whole = objective(batch)
    torch.testing.assert_close(whole, dense(model(batch.images), rows, classes))
    weighted = sum(objective(half) * len(half) for half in halves) / len(batch)
    torch.testing.assert_close(weighted, whole)
    assert not objective.needs_captions


def test_unknown_objective_names_the_known():
    with pytest.raises(UsageError) as caught:
        objectives.create("catlop", torch.nn.Identity())
    assert "catlip" in caught.value.hint
