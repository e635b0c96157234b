"""An untrained tower is made as the trained one was, also where nothing but the tower says how."""

import torch

from catlipctl import models
from catlipctl.checkpoints import Checkpoint
from catlipctl.settings.models import ModelSettings
from catlipctl.transfer.features import untrained


def test_a_tower_from_behind_a_door_keeps_its_arguments() -> None:
    arguments = {"embed_dim": 64, "depth": 2, "num_heads": 1, "class_token": False, "global_pool": "avg"}
    settings = ModelSettings(name="vit_base_catlip_224", image_size=64, model_args=arguments)
    trained = models.create(settings, num_classes=0)
    fresh = untrained(Checkpoint(path=None, tower=trained), seed=1)
    assert fresh.preprocessing == trained.preprocessing
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.equal(fresh.features(images), trained.features(images))
        fresh.module.load_state_dict(trained.module.state_dict())
        assert torch.equal(fresh.features(images), trained.module.eval()(images))
