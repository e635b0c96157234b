"""Counted operations against the closed form of a transformer."""

from pathlib import Path

import pytest
import torch

from catlipctl.bench.learners import LEARNERS
from catlipctl.bench.settings import Comparison
from catlipctl.bench.timing import count_flops
from catlipctl.training.world import World

BATCH, CLASSES = 4, 1000


def transformer(layers: int, tokens: int, width: int) -> float:
    """Forward and backward: each weight 2 + 4 operations a token, and attention's two products thrice."""
    weights = 12 * width**2
    attention = 2 * 2 * tokens**2 * width
    return layers * (6 * tokens * weights + 3 * attention)


def image_tower() -> float:
    """16 patches of 16 x 16 x 3 into 64; no gradient flows to the pixels."""
    return 4 * 16 * (3 * 16 * 16) * 64 + transformer(2, 17, 64)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CatLIP", image_tower() + 6 * 64 * CLASSES),
        ("CLIP", image_tower() + 6 * 64 * 48 + transformer(3, 77, 32) + 6 * 32 * 48 + 2 * 6 * BATCH * 48),
    ],
)
def test_flops_are_those_of_the_closed_form(name: str, expected: float, tiny: Path) -> None:
    comparison = Comparison(model=str(tiny), batch_size=BATCH, classes=CLASSES, seed=0)
    learner = LEARNERS[name](comparison, World(cpu=True))
    counted = count_flops(learner, torch.device("cpu")) / BATCH
    assert counted == pytest.approx(expected, rel=0.05)
