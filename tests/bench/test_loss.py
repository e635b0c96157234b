"""What `bench loss` times, against autograd's own gradients and counted operations."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from catlipctl.bench import turns
from catlipctl.bench.loss import PRODUCTS, LossSettings, learning, loss, products

NAMES = ["head and softmax", "head and two_way", "head and dense bce"]


def test_the_products_are_those_of_a_head_that_learns() -> None:
    head, features = nn.Linear(6, 11), torch.randn(4, 6)
    counts = []
    for way in (products(head.weight.detach(), features), learning(head, features, torch.sum)):
        with FlopCounterMode(display=False) as counter:
            way(2)
        counts.append(counter.get_total_flops())
    assert counts == [2 * 6 * 4 * 6 * 11] * 2


def test_a_result_holds_rounds_and_ratios_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "SECONDS", 0)
    result = loss(LossSettings(batch_size=3, classes=50, width=8, rounds=2, losses=("softmax", "two_way")))
    assert [row.name for row in result.rows] == [PRODUCTS, *NAMES]
    first = result.rows[0]
    assert first.ratio is None
    for row in result.rows[1:]:
        pairs = [a / b for a, b in zip(row.rounds, first.rounds, strict=True)]
        assert row.ratio is not None
        assert abs(row.ratio.median - sum(pairs) / 2) < 1e-9
    times, ratios = result.bars()
    assert times[PRODUCTS] == {"": 1000 * first.seconds.median}
    assert list(ratios) == NAMES
