"""Both sides are what they say, and both train."""

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch

from catlipctl.bench.learners import CLASSES, Comparison, Contestant, catlip, clip, random_tokens, zipf_labels
from catlipctl.settings.models import TextSettings
from catlipctl.training.world import World

OURS = pytest.mark.parametrize("build", [catlip, clip])


@pytest.fixture
def comparison(tiny: Path) -> Comparison:
    return Comparison(model=str(tiny), batch_size=4, classes=100, seed=0)


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def silent(phase: str) -> None:
    """Nobody times."""


def test_clip_has_the_parameters_of_open_clips_own_model(tiny: Path, comparison: Comparison) -> None:
    open_clip.add_model_config(tiny)
    ours = clip(comparison, World(cpu=True))
    assert parameters(ours.module) == parameters(open_clip.create_model(tiny.stem))


def test_catlip_has_the_parameters_of_timms_vit_with_the_same_head(comparison: Comparison) -> None:
    same = timm.models.VisionTransformer(
        img_size=64, patch_size=16, embed_dim=64, depth=2, num_heads=1, num_classes=100, pre_norm=True
    )
    assert parameters(catlip(comparison, World(cpu=True)).module) == parameters(same)


@OURS
def test_the_loss_falls_on_a_fixed_batch(build: Any, comparison: Comparison) -> None:
    contestant: Contestant = build(comparison, World(cpu=True))
    losses = [contestant.step(silent) for _ in range(15)]
    assert losses[-1] < 0.7 * losses[0]


@OURS
def test_every_parameter_learns(build: Any, comparison: Comparison) -> None:
    contestant: Contestant = build(comparison, World(cpu=True))
    before = {key: value.clone() for key, value in contestant.module.named_parameters()}
    for _ in range(2):
        contestant.step(silent)
    assert [
        key for key, value in contestant.module.named_parameters() if torch.equal(value, before[key])
    ] == []


def test_labels_are_few_and_by_zipfs_law() -> None:
    classes, counts = zipf_labels(np.random.default_rng(1), 2000, CLASSES)
    rows = torch.arange(2000).repeat_interleave(counts)
    pairs = set(zip(rows.tolist(), classes.tolist(), strict=True))
    assert len(pairs) == len(classes)
    assert 4 < len(pairs) / 2000 <= 5
    # Drawn five times without repeats, class 0 of probability p is in 1 - (1 - p)^5 of the images.
    p = 1 / (1 / np.arange(1, CLASSES + 1)).sum()
    assert (classes == 0).sum().item() / 2000 == pytest.approx(1 - (1 - p) ** 5, abs=0.05)


def test_captions_end_as_open_clips_tokeniser_ends_them() -> None:
    tokens = random_tokens(np.random.default_rng(0), 64, TextSettings())
    real = open_clip.SimpleTokenizer()(["two dogs on a beach"])
    assert tokens.shape == (64, real.shape[1])
    assert tokens.dtype == real.dtype
    assert (tokens[:, 0] == real[0, 0]).all()
    ends = tokens.argmax(dim=1)
    assert (tokens.amax(dim=1) == real.max()).all()
    assert all(
        (row[end + 1 :] == 0).all() and (row[:end] > 0).all() for row, end in zip(tokens, ends, strict=True)
    )
