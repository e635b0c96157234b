"""Towers at other sizes than their own, against what timm makes of the same weights at that size."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor

from catlipctl import checkpoints, models
from catlipctl.errors import UsageError
from catlipctl.models import TimmTower, resized
from catlipctl.settings.models import ModelSettings

TINY = {"embed_dim": 24, "depth": 2, "num_heads": 2}


def tower(name: str = "vit_tiny_patch16_224", size: int = 32) -> TimmTower:
    torch.manual_seed(0)
    arguments = TINY | {"drop_path_rate": 0.1} if name.startswith("vit") else {}
    made = models.create(ModelSettings(name=name, image_size=size, model_args=arguments, crop_pct=0.8), 3)
    made.module.eval()
    return made


def timms(weights: dict[str, Tensor], size: int) -> Any:
    """timm's own tower at a size, with weights of another as timm loads them."""
    made = timm.create_model("vit_tiny_patch16_224", img_size=size, num_classes=3, **TINY).eval()
    made.load_state_dict(checkpoint_filter_fn(dict(weights), made))
    return made


def images(size: int) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_positions_are_resampled_as_timm_does(tmp_path: Path) -> None:
    before = tower()
    weights = before.module.state_dict()
    larger = resized(before, 64, crop_pct=1.0)
    expected = resample_abs_pos_embed(weights["pos_embed"], new_size=[4, 4], num_prefix_tokens=1)
    torch.testing.assert_close(larger.module.state_dict()["pos_embed"], expected)
    logits = timms(weights, 64)(images(64))
    torch.testing.assert_close(larger.module(images(64)), logits)
    assert (larger.preprocessing.size, larger.preprocessing.crop_pct) == (64, 1.0)
    assert (before.preprocessing.size, before.preprocessing.crop_pct) == (32, 0.8)
    torch.testing.assert_close(before.module.state_dict()["pos_embed"], weights["pos_embed"])
    checkpoints.write(tmp_path / "c", tower=larger, config={})
    opened = timm.create_model(f"local-dir:{tmp_path / 'c'}", pretrained=True).eval()
    torch.testing.assert_close(opened(images(64)), logits)
    assert timm.data.resolve_model_data_config(opened)["input_size"] == (3, 64, 64)


@torch.no_grad()
def test_one_tower_takes_many_sizes_and_is_saved_at_its_own(tmp_path: Path) -> None:
    before = tower()
    weights = before.module.state_dict()
    many = resized(before, 64, [32, 48, 64])
    assert many.module.blocks[1].drop_path1.drop_prob == pytest.approx(0.1)
    larger = timms(weights, 64)
    for size in (32, 48, 64):
        # Of the positions that it has, those of 64 px.
        expected = timms(larger.state_dict(), size) if size != 64 else larger
        torch.testing.assert_close(many.module(images(size)), expected(images(size)))
    checkpoints.write(tmp_path / "c", tower=many, config={})
    opened = timm.create_model(f"local-dir:{tmp_path / 'c'}", pretrained=True).eval()
    torch.testing.assert_close(opened(images(64)), larger(images(64)))
    with pytest.raises(AssertionError, match="doesn't match model"):
        opened(images(32))


@torch.no_grad()
def test_towers_without_positions_of_a_size_are_as_they_were() -> None:
    for name in ("resnet10t", "vit_base_catlip_224"):
        before = tower(name)
        after = resized(before, 64, [32, 48, 64])
        assert after.preprocessing.size == 64
        for key, value in before.module.state_dict().items():
            assert torch.equal(after.module.state_dict()[key], value), key
        for size in (32, 48, 64):
            assert torch.equal(after.module(images(size)), before.module(images(size)))


def test_a_size_that_it_does_not_take_is_refused() -> None:
    for size, sizes in ((40, []), (32, [32, 40])):
        with pytest.raises(UsageError, match="vit_tiny_patch16_224 takes no images of 40 px"):
            resized(tower(), size, sizes)
