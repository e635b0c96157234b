"""Fine-tuning's loss against torch's."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from catlipctl import models, objectives
from catlipctl.data.batch import Batch, Step
from catlipctl.objectives import Context
from catlipctl.settings.models import ModelSettings
from catlipctl.settings.objectives import ClassificationSettings

CLASSES = torch.tensor([3, 0, 3, 6])


@pytest.mark.parametrize("smoothing", [None, 0.1])
def test_equals_torchs_cross_entropy(smoothing: float | None) -> None:
    torch.manual_seed(0)
    tower = models.create(ModelSettings(name="test_vit", image_size=160), num_classes=7)
    settings = None if smoothing is None else ClassificationSettings(label_smoothing=smoothing)
    objective = objectives.Classification.build(settings, Context(tower=tower, encode=lambda _: [0]))
    batch = Batch(
        step=Step(index=0, size=160, rows=4, start=0),
        images=torch.randint(0, 256, (4, 3, 160, 160), dtype=torch.uint8),
        targets={"classes": CLASSES, "counts": torch.ones(4, dtype=torch.int64)},
        positions=torch.arange(4),
        samples=torch.arange(4),
        counted=4,
    )
    mean, std = (torch.tensor(v)[:, None, None] for v in (tower.preprocessing.mean, tower.preprocessing.std))
    logits = tower.module((batch.images.float() / 255 - mean) / std)
    loss, parts, _ = objective(batch)
    torch.testing.assert_close(loss, F.cross_entropy(logits, CLASSES, label_smoothing=smoothing or 0.0))
    assert parts["accuracy"].item() == sum(logits.argmax(1) == CLASSES).item() / 4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert objective(batch).loss.dtype == torch.float32


def test_all_of_the_target_cannot_be_smoothed_away() -> None:
    with pytest.raises(ValidationError):
        ClassificationSettings(label_smoothing=1.0)
