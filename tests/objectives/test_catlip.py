"""The objective's loss of images, labels and augmentation, against torch's of dense targets."""

import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from catlipctl import models, objectives
from catlipctl.data.batch import Batch, Step
from catlipctl.data.sample import Sample
from catlipctl.objectives import Context, LabelCollate
from catlipctl.settings.models import ModelSettings


def dense(logits: torch.Tensor, rows: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    targets = torch.zeros_like(logits)
    targets[rows, classes] = 1
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / logits.shape[0]


def encode(sample: Sample) -> list[int]:
    return [int(caption) for caption in sample.captions]


CAPTIONS = (("1", "5"), (), ("0", "2", "3"), (), ("8",))


def test_collated_chunks_join_to_the_collation_of_all() -> None:
    collate = pickle.loads(pickle.dumps(LabelCollate(encode)))
    samples = [Sample(str(i), None, captions) for i, captions in enumerate(CAPTIONS)]
    whole = collate(samples, np.arange(5))
    assert whole["classes"].tolist() == [1, 5, 0, 2, 3, 8]
    assert whole["counts"].tolist() == [2, 0, 3, 0, 1]
    chunks = [collate(samples[part], np.arange(5)[part]) for part in (slice(0, 2), slice(2, 4), slice(4, 5))]
    for name, tensor in whole.items():
        assert torch.equal(torch.cat([chunk[name] for chunk in chunks]), tensor)
        assert {chunk[name].dtype for chunk in chunks} == {torch.int64}


def batches(size: int, *parts: slice) -> list[Batch]:
    """Five images with the labels above, cut into parts."""
    collate = LabelCollate(encode)
    samples = [Sample(str(i), None, captions) for i, captions in enumerate(CAPTIONS)]
    images = torch.randint(0, 256, (5, 3, size, size), generator=torch.Generator().manual_seed(1))
    found = []
    for part in parts:
        positions = torch.arange(5)[part]
        found.append(
            Batch(
                step=Step(index=0, size=size, rows=5, start=0),
                images=images[part].to(torch.uint8),
                targets=collate(samples[part], positions.numpy()),
                positions=positions,
                samples=positions,
                counted=len(positions),
            )
        )
    return found


def test_objective_gives_torchs_dense_loss_of_the_normalised_images() -> None:
    torch.manual_seed(0)
    tower = models.create(ModelSettings(name="test_vit", image_size=160), num_classes=9)
    objective = objectives.Catlip.build(None, Context(tower=tower, encode=encode)).eval()
    whole, first, second = batches(160, slice(0, 5), slice(0, 2), slice(2, 5))
    mean, std = (torch.tensor(v)[:, None, None] for v in (tower.preprocessing.mean, tower.preprocessing.std))
    logits = tower.module((whole.images.float() / 255 - mean) / std)
    rows, classes = torch.tensor([0, 0, 2, 2, 2, 4]), torch.tensor([1, 5, 0, 2, 3, 8])
    loss, parts, scores = objective(whole)
    torch.testing.assert_close(loss, dense(logits, rows, classes))
    assert parts["unlabelled"].item() == pytest.approx(2 / 5)
    assert parts["labels"].item() == pytest.approx(6 / 5)
    assert set(parts) == {"labels", "unlabelled"}
    weighted = (objective(first).loss * 2 + objective(second).loss * 3) / 5
    torch.testing.assert_close(weighted, loss)
    # In eval mode alone: in training nobody asks for them, and they would stay in memory.
    torch.testing.assert_close(scores, logits)
    assert objective.train()(whole).scores is None


class Brighter(torch.nn.Module):
    """An augmentation with a loss and a parameter that learns of both."""

    def __init__(self) -> None:
        super().__init__()
        self.by = torch.nn.Parameter(torch.tensor(0.1))

    def forward(
        self, images: torch.Tensor, step: Step, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        assert len(positions) == len(images)
        return images + self.by, (self.by - step.index) ** 2


@pytest.mark.parametrize("training", [True, False])
def test_augmentation_works_on_images_from_0_to_1_and_its_loss_is_added(training: bool) -> None:
    torch.manual_seed(0)
    tower = models.create(ModelSettings(name="test_vit", image_size=160), num_classes=9)
    plain = objectives.Catlip.build(None, Context(tower=tower, encode=encode))
    augmented = objectives.Catlip.build(None, Context(tower=tower, encode=encode, range_augment=Brighter()))
    (batch,) = batches(160, slice(0, 5))
    loss, parts, _ = augmented.train(training)(batch)
    if not training:
        assert torch.equal(loss, plain.eval()(batch).loss)
        return
    assert parts["range_augment"].item() == pytest.approx(0.01)
    std = torch.tensor(tower.preprocessing.std)
    shifted = tower.preprocessing.standardised(tower.preprocessing.scaled(batch.images))
    logits = tower.module(shifted + (0.1 / std)[:, None, None])
    rows, classes = torch.tensor([0, 0, 2, 2, 2, 4]), torch.tensor([1, 5, 0, 2, 3, 8])
    torch.testing.assert_close(loss, dense(logits, rows, classes) + 0.01)
    loss.backward()
    assert augmented.range_augment.by.grad.item() != 0
