"""What `bench loss` times, against autograd's own gradients and counted operations."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from catlipctl.bench import turns
from catlipctl.bench.loss import (
    PRODUCTS,
    LossSettings,
    Shape,
    learning,
    loss,
    made_up_ways,
    most_bytes,
    products,
)

NAMES = ["head and softmax", "head and two_way", "head and dense bce"]


def test_the_products_are_those_of_a_head_that_learns() -> None:
    head, features = nn.Linear(6, 11), torch.randn(4, 6)
    counts = []
    for way in (products(head.weight.detach(), features), learning(head, features, torch.sum)):
        with FlopCounterMode(display=False) as counter:
            way(2)
        counts.append(counter.get_total_flops())
    assert counts == [2 * 6 * 4 * 6 * 11] * 2


def test_memory_is_of_the_logits_and_of_what_is_learned_from_them() -> None:
    shape = Shape(batch_size=40, classes=3000, width=8)
    ways, given = made_up_ways(shape, ("bce",), 0, torch.device("cpu"), torch.float32)
    logits, weight = 4 * 40 * 3000, 4 * 3000 * 8
    least = most_bytes(ways[PRODUCTS], given)
    assert logits + weight <= least < 1.1 * (logits + weight)
    ours, dense = (most_bytes(ways[name], given) for name in ("head and bce", "head and dense bce"))
    # The logits and their gradient, then the gradients of weight and bias.
    assert 2 * logits <= ours < 2 * logits + 2 * weight + 2**20
    assert dense >= ours


def test_a_result_holds_rounds_and_ratios_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "SECONDS", 0)
    result = loss(
        LossSettings(batch_sizes=[3, 4], classes=[50], width=8, rounds=2, losses=("softmax", "two_way"))
    )
    assert [(case.batch_size, case.classes) for case in result.cases] == [(3, 50), (4, 50)]
    rows = result.cases[0].rows
    assert [row.name for row in rows] == [PRODUCTS, *NAMES]
    first = rows[0]
    assert first.ratio is None
    for row in rows[1:]:
        pairs = [a / b for a, b in zip(row.rounds, first.rounds, strict=True)]
        assert row.ratio is not None
        assert abs(row.ratio.median - sum(pairs) / 2) < 1e-9
    times, ratios = result.bars()
    assert times[PRODUCTS].keys() == {"3 x 50", "4 x 50"}
    assert times[PRODUCTS]["3 x 50"] == 1000 * first.seconds.median
    assert list(ratios) == NAMES
