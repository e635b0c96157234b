"""Any timm tower by name: what it is made into, and what is refused."""

import pytest
import timm
import torch
from timm.data import resolve_model_data_config

from catlipctl import models
from catlipctl.errors import UsageError
from catlipctl.models import ModelSettings


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet10t", 32), ("vit_tiny_patch16_224", 64), ("convnext_atto", 64), ("mobilenetv3_small_050", 64)],
)
def test_tower_at_another_size(name, size):
    model = models.create(ModelSettings(name=name, image_size=size, head_bias=-5.0), num_classes=11).eval()
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        features = models.features(model, images)
        torch.testing.assert_close(models.head(model)(features), model(images))
    assert features.shape == (2, models.head(model).in_features)
    assert torch.equal(models.head(model).bias, torch.full((11,), -5.0))
    assert resolve_model_data_config(model)["input_size"] == (3, size, size)
    found, native = models.preprocessing(model), timm.get_pretrained_cfg(name)
    assert (found.size, found.mean, found.std) == (size, tuple(native.mean), tuple(native.std))
    assert "url" not in model.pretrained_cfg
    assert "hf_hub_id" not in model.pretrained_cfg


def test_towers_that_fix_their_size_without_saying_so():
    model = models.create(ModelSettings(name="eva02_tiny_patch14_224", image_size=112), num_classes=3)
    assert model(torch.rand(1, 3, 112, 112)).shape == (1, 3)


def test_crop_pct_can_be_said():
    model = models.create(ModelSettings(name="resnet10t", image_size=32, crop_pct=1.0), num_classes=3)
    assert models.preprocessing(model).crop_pct == 1.0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (ModelSettings(name="vit_base_catlip"), "vit_base_catlip"),
        (ModelSettings(name="hf-hub:org/name"), "no tower"),
        (ModelSettings(name="vit_base_catlip_224", image_size=230), "230"),
        (ModelSettings(name="resnet10t", model_args={"layer_count": 3}), "layer_count"),
        (ModelSettings(name="deit_tiny_distilled_patch16_224"), "no linear classifier"),
    ],
)
def test_what_cannot_be_made_is_a_usage_error(settings, words):
    with pytest.raises(UsageError, match=words) as caught:
        models.create(settings, num_classes=3)
    assert caught.value.hint


def test_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError) as caught:
        models.create(ModelSettings(name="resnet_10t"), num_classes=3)
    assert "resnet10t" in caught.value.hint
