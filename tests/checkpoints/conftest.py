"""Small models of both kinds, and a checkpoint of each."""

from pathlib import Path

import pytest
import torch
from torch import nn

from catlipctl import checkpoints, models
from catlipctl.models import Tower
from catlipctl.settings.models import ModelSettings
from catlipctl.vocabulary import Vocabulary


@pytest.fixture
def vocabulary() -> Vocabulary:
    keys = ("n02084071", "n02121620", *(f"key{i:03d}" for i in range(298)))
    return Vocabulary(
        keys=keys,
        counts=tuple(range(1000, 700, -1)),
        extractor="corenet",
        extractor_version="1",
        source="pairs.tar",
        captions=5000,
        captions_without_label=12,
        counted="occurrences",
        threshold=500,
    )


def made(name: str, size: int, classes: int = 300, **model_args: object) -> Tower:
    """A tower whose BatchNorm statistics and biases are not what a fresh one has."""
    torch.manual_seed(0)
    settings = ModelSettings(name=name, image_size=size, model_args=model_args)
    tower = models.create(settings, num_classes=classes)
    for parameter in tower.module.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=0.5, std=0.05)
    with torch.no_grad():
        tower.module.train()(torch.rand(2, 3, size, size))
    tower.module.eval()
    return tower


@pytest.fixture
def resnet() -> Tower:
    return made("resnet10t", 32)


@pytest.fixture
def checkpoint(tmp_path: Path, resnet: Tower, vocabulary: Vocabulary) -> Path:
    return checkpoints.write(
        tmp_path / "checkpoint",
        tower=resnet,
        config={"objective": "catlip", "step": 1000, "recipe": {"name": "demo", "steps": 1500}},
        vocabulary=vocabulary,
        state={"optimiser.weight": torch.arange(6.0), "step": torch.tensor(1000)},
        state_json={"position": 128_000},
        files={"account.csv": "label,kind\n"},
    )
