"""What every command asks of a tower, on timm's: the head's input against the model's own output."""

import pytest
import torch

from catlipctl import models
from catlipctl.settings.models import ModelSettings


@pytest.mark.parametrize(
    "name", ["resnet10t", "vit_tiny_patch16_224", "convnext_atto", "mobilenetv3_small_050", "levit_256d"]
)
def test_the_head_of_the_features_is_the_model(name):
    torch.manual_seed(0)
    tower = models.create(ModelSettings(name=name, image_size=224 if name == "levit_256d" else 64), 11)
    tower.module.eval()
    images = torch.rand(2, 3, tower.preprocessing.size, tower.preprocessing.size)
    with torch.no_grad():
        torch.testing.assert_close(tower.head(tower.features(images)), tower.module(images))
