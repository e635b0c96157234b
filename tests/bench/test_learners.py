"""Both sides are what they say, and both train."""

from pathlib import Path

import open_clip
import pytest
import timm
import torch

from catlipctl.bench.comparison import Comparison, Entry
from catlipctl.bench.learners import has_text_tower, ours, settings_of
from catlipctl.objectives import OBJECTIVES
from catlipctl.settings.losses import CatlipSettings
from catlipctl.training.world import World

OURS = pytest.mark.parametrize("name", OBJECTIVES)


@pytest.fixture
def comparison(tiny: Path) -> Comparison:
    return Comparison(model=str(tiny), batch_size=4, classes=100, seed=0)


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def silent(_: object) -> None:
    """Nobody times."""


def entry(name: str) -> Entry:
    return Entry(name=name, objective=name, context=77 if has_text_tower(name) else None)


def test_clip_has_the_parameters_of_open_clips_own_model(tiny: Path, comparison: Comparison) -> None:
    open_clip.add_model_config(tiny)
    clip = ours(entry("clip"), comparison, World(cpu=True))
    assert parameters(clip.module) == parameters(open_clip.create_model(tiny.stem))


def test_catlip_has_the_parameters_of_timms_vit_with_the_same_head(comparison: Comparison) -> None:
    same = timm.models.VisionTransformer(
        img_size=64, patch_size=16, embed_dim=64, depth=2, num_heads=1, num_classes=100, pre_norm=True
    )
    assert parameters(ours(entry("catlip"), comparison, World(cpu=True)).module) == parameters(same)


@OURS
def test_the_loss_falls_on_a_fixed_batch(name: str, comparison: Comparison) -> None:
    contestant = ours(entry(name), comparison, World(cpu=True))
    losses = [contestant.step(silent) for _ in range(15)]
    assert losses[-1] < 0.7 * losses[0]


@OURS
def test_every_parameter_learns(name: str, comparison: Comparison) -> None:
    contestant = ours(entry(name), comparison, World(cpu=True))
    before = {key: value.clone() for key, value in contestant.module.named_parameters()}
    for _ in range(2):
        contestant.step(silent)
    assert [
        key for key, value in contestant.module.named_parameters() if torch.equal(value, before[key])
    ] == []


def test_a_text_tower_is_the_configurations_with_the_cases_context(comparison: Comparison) -> None:
    found = settings_of(Entry(name="x", objective="clip", context=32), comparison)
    assert (found.embed_dim, found.text.width, found.text.context_length) == (48, 32, 32)
    assert settings_of(entry("catlip"), comparison) == CatlipSettings()


@OURS
def test_it_learns_with_all_that_a_recipe_may_turn_on(name: str, comparison: Comparison) -> None:
    changes = {"activation_checkpointing": True, "ema": True, "precision": "bfloat16", "image_size": 32}
    contestant = ours(entry(name), comparison.model_copy(update=changes), World(cpu=True))
    losses = [contestant.step(silent) for _ in range(10)]
    assert losses[-1] < losses[0]
