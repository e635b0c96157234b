"""Counted operations against the closed form of a transformer; phases and their order."""

from pathlib import Path

import open_clip
import pytest
import timm
import torch

from catlipctl.bench.configuration import find, image_trunk
from catlipctl.bench.contestants import CONTESTANTS
from catlipctl.bench.learners import CLASSES, Comparison
from catlipctl.bench.step import PHASES, StepSettings, count_flops, ratios, timed
from catlipctl.training.world import World

BATCH, CPU = 4, torch.device("cpu")


def transformer(layers: int, tokens: int, width: int) -> float:
    """Forward and backward: each weight 2 + 4 operations a token, and attention's two products thrice."""
    weights = 12 * width**2
    attention = 2 * 2 * tokens**2 * width
    return layers * (6 * tokens * weights + 3 * attention)


def image_tower() -> float:
    """16 patches of 16 x 16 x 3 into 64; no gradient flows to the pixels."""
    return 4 * 16 * (3 * 16 * 16) * 64 + transformer(2, 17, 64)


def both_towers() -> float:
    return image_tower() + 6 * 64 * 48 + transformer(3, 77, 32) + 6 * 32 * 48


CLASSIFIER = 6 * 64 * 1000
CONTRAST = 6 * BATCH * 48
"""The logits, and a product for each side's gradient."""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CatLIP", image_tower() + CLASSIFIER),
        ("CLIP", both_towers() + CONTRAST),
        ("plain timm", image_tower() + CLASSIFIER),
        # open_clip makes the logits from images and from texts.
        ("plain open_clip", both_towers() + 2 * CONTRAST),
    ],
)
def test_flops_are_those_of_the_closed_form(name: str, expected: float, tiny: Path) -> None:
    comparison = Comparison(model=str(tiny), batch_size=BATCH, classes=1000, seed=0)
    contestant = CONTESTANTS[name](comparison, World(cpu=True))
    assert count_flops(contestant, CPU) / BATCH == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", list(CONTESTANTS))
def test_a_step_is_its_phases(name: str, tiny: Path) -> None:
    comparison = Comparison(model=str(tiny), batch_size=BATCH, classes=100, seed=0)
    contestant = CONTESTANTS[name](comparison, World(cpu=True))
    told: list[str] = []
    contestant.step(told.append)
    assert tuple(dict.fromkeys(told)) == PHASES
    assert told == sorted(told, key=PHASES.index)
    seconds = timed(contestant, CPU)
    assert tuple(seconds) == PHASES
    assert min(seconds.values()) > 0


def test_ratios_are_of_pairs() -> None:
    rounds = [{"a": {"forward": x, "loss": x}, "b": {"forward": 2 * x, "loss": 4 * x}} for x in (1.0, 5.0)]
    assert ratios(rounds, "b", "a").median == ratios(rounds, "b", "a").high == pytest.approx(3)


def test_the_default_pair_is_open_clips_and_has_timms_vit_small() -> None:
    default = StepSettings().comparison(CPU)
    assert default.model in open_clip.list_models()
    assert StepSettings().comparison(torch.device("cuda")).model in open_clip.list_models()
    with torch.device("meta"):
        trunk, width = image_trunk(find(default.model))
        same = timm.create_model("vit_small_patch16_224", pre_norm=True, num_classes=CLASSES)
    parameters, others = (sum(p.numel() for p in model.parameters()) for model in (trunk, same))
    assert default.classes == 24_320
    assert parameters + (width + 1) * default.classes == others
