"""Dropped patches against timm's own layers on the tokens that are kept, and against timm's own counts."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.layers import PatchDropout
from timm.models import save_for_hf
from torch import Tensor

from catlipctl import models
from catlipctl.data.batch import Shape, Step
from catlipctl.data.draws import GOLDEN, hashed
from catlipctl.errors import UsageError
from catlipctl.models import TokenDrop, Tower, add_token_drop
from catlipctl.settings.models import ModelSettings

SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 2}
STEP = Step(index=3, size=64, rows=6, start=100, token_drop=0.5)


def settings(name: str = "vit_tiny_patch16_224", **changes: Any) -> ModelSettings:
    return ModelSettings(name=name, image_size=64, model_args=SMALL, **changes)


def dropping(made: ModelSettings, seed: int = 0) -> tuple[Tower, TokenDrop]:
    torch.manual_seed(0)
    tower = models.create(made, 5)
    return tower, add_token_drop(tower, seed)


def kept(drop: TokenDrop, position: int, patches: int, share: float) -> list[int]:
    """One image's patches, a patch at a time: Wellons' lowbias32 in Python's integers."""

    def mixed(bits: int) -> int:
        bits = ((bits ^ bits >> 16) * 0x7FEB352D) % 2**32
        bits = ((bits ^ bits >> 15) * 0x846CA68B) % 2**32
        return bits ^ bits >> 16

    def signed(bits: int) -> int:
        return bits - 2**32 if bits >= 2**31 else bits

    key = hashed((position * GOLDEN + drop.key) % 2**64) >> 32
    draws = [signed(mixed(mixed(patch + 1) ^ key)) for patch in range(patches)]
    return sorted(np.argsort(draws, kind="stable")[: max(1, int(patches * (1 - share)))].tolist())


@pytest.mark.parametrize(
    "name",
    [
        *("vit_tiny_patch16_224", "vit_base_catlip_224", "deit_tiny_distilled_patch16_224"),
        "vit_tiny_patch16_224 averaged",
    ],
)
def test_the_tower_sees_the_kept_patches_alone(name: str) -> None:
    """Values and gradients are those of timm's blocks, head and pooling on the tokens picked by hand."""
    made = settings(name.split()[0])
    if name.endswith("averaged"):
        made = made.model_copy(update={"model_args": {**SMALL, "global_pool": "avg", "class_token": False}})
    tower, drop = dropping(made)
    module: Any = tower.module.train()
    prefix = module.num_prefix_tokens
    torch.manual_seed(1)
    images, positions = torch.rand(6, 3, 64, 64), torch.arange(100, 106)
    drop.draw(STEP, positions, images.device)
    module(images).square().sum().backward()
    found = {name: value.grad.clone() for name, value in module.named_parameters()}
    module.zero_grad()

    def pick(tokens: Tensor) -> Tensor:
        rows = [kept(drop, int(p), tokens.shape[1] - prefix, 0.5) for p in positions]
        patches = torch.stack([row[prefix:][index] for row, index in zip(tokens, rows, strict=True)])
        return torch.cat([tokens[:, :prefix], patches], dim=1)

    drop.keys = None
    handle = drop.register_forward_hook(lambda *arguments: pick(arguments[2]))
    module(images).square().sum().backward()
    handle.remove()
    for name, value in module.named_parameters():
        torch.testing.assert_close(found[name], value.grad, msg=name)


def test_as_many_patches_are_kept_as_timm_keeps_and_each_as_often() -> None:
    drop = dropping(settings())[1].train()
    positions, tokens = torch.arange(4096), torch.arange(17.0).expand(4096, 17)[:, :, None]
    for share in (0.1, 0.5, 0.75, 0.95):
        drop.draw(Step(0, 64, 4096, 0, share), positions, tokens.device)
        found = drop(tokens)[:, :, 0]
        assert found.shape == PatchDropout(share).train()(tokens).shape[:2]
        assert (found[:, 0] == 0).all()
        assert (found.diff(dim=1) > 0).all()
    drop.draw(Step(0, 64, 4096, 0, 0.5), positions, tokens.device)
    shares = torch.bincount(drop(tokens)[:, 1:, 0].long().flatten(), minlength=17)[1:] / 4096
    assert (shares - 0.5).abs().max() < 5 * 0.5 / 64  # five standard deviations
    pieces = []
    for part in positions.split(1000):
        drop.draw(STEP, part, tokens.device)
        pieces.append(drop(tokens[: len(part)]))
    assert torch.equal(torch.cat(pieces)[:, :, 0], drop_all(drop, positions, tokens))
    other = dropping(settings(), seed=1)[1].train()
    assert not torch.equal(drop_all(other, positions, tokens), drop_all(drop, positions, tokens))


def drop_all(drop: TokenDrop, positions: Tensor, tokens: Tensor) -> Tensor:
    drop.draw(STEP, positions, tokens.device)
    return drop(tokens)[:, :, 0]


def test_in_eval_mode_and_in_what_is_saved_nothing_is_dropped(tmp_path: Any) -> None:
    tower, drop = dropping(settings())
    drop.draw(STEP, torch.arange(2), torch.device("cpu"))
    module: Any = tower.module.eval()
    images = torch.rand(2, 3, 64, 64)
    save_for_hf(module, tmp_path, safe_serialization=True)
    opened = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    torch.testing.assert_close(opened.eval()(images), module(images), rtol=0, atol=0)
    assert "drop" not in (tmp_path / "config.json").read_text()
    assert opened.train()(images).shape == (2, 5)
    drop.draw(Step(9, 64, 2, 0), torch.arange(2), images.device)  # a step of the unmasked tuning
    torch.testing.assert_close(module.train()(images), opened(images), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["resnet10t", "eva02_tiny_patch14_224", "convnext_atto"])
def test_other_towers_are_refused_before_anything_is_allocated(name: str) -> None:
    asked = ModelSettings(name=name, image_size=112, token_drop=0.5)
    for function in (models.check, partial(models.counts, num_classes=3)):
        with pytest.raises(UsageError, match=r"token_drop: .* cannot leave out patches") as caught:
            function(asked)
        assert caught.value.hint


def test_patches_that_model_args_drop_are_refused() -> None:
    asked = settings(token_drop=0.5)
    args = {**SMALL, "patch_drop_rate": 0.5}
    with pytest.raises(UsageError, match="patch_drop_rate"):
        models.check(asked.model_copy(update={"model_args": args}))


def test_counts_of_dropped_patches_by_the_closed_form() -> None:
    found = models.counts(ModelSettings(name="vit_base_patch16_224", token_drop=0.75), num_classes=1000)
    whole, fewer = (
        2 * (196 * 768**2 + 12 * (12 * n * 768**2 + 2 * n**2 * 768) + 768 * 1000) for n in (197, 50)
    )
    assert found.flops == {Shape(224): whole, Shape(224, 0.75): fewer}
