"""SuperClass's weights of labels against its code as described, in NumPy, and against the paper's formula."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from catlipctl import models
from catlipctl.data.batch import Batch, Step
from catlipctl.objectives import Context, Superclass
from catlipctl.settings.losses import SuperclassSettings
from catlipctl.settings.models import ModelSettings
from catlipctl.settings.training import OptimiserSettings
from catlipctl.training.learner import Learner
from catlipctl.training.world import World

CLASSES, ROWS, STEPS = 40, 12, 50
TINY = {"embed_dim": 16, "depth": 1, "num_heads": 2}


def bags() -> NDArray[np.float64]:
    """`[steps, rows, classes]`: class 0 is in all, class 1 never, and the others ever more rarely."""
    random = np.random.default_rng(3)
    found = random.random((STEPS, ROWS, CLASSES)) < 1 / np.arange(1, CLASSES + 1)
    found[:, :, 1] = False
    return found.astype(np.float64)


def pieces(bag: NDArray[np.float64], index: int, cuts: list[int]) -> tuple[Step, list[Batch]]:
    step = Step(index=index, size=32, rows=len(bag), start=index * len(bag))
    images = torch.randint(0, 256, (len(bag), 3, 32, 32), generator=torch.Generator().manual_seed(index))
    found = []
    for rows in np.split(np.arange(len(bag)), cuts):
        own = bag[rows]
        targets = {
            "classes": torch.from_numpy(np.nonzero(own)[1]),
            "counts": torch.from_numpy(own.sum(1).astype(np.int64)),
        }
        positions = torch.from_numpy(rows) + step.start
        found.append(Batch(step, images[rows].to(torch.uint8), targets, positions, positions, len(rows)))
    # As a process has that is a row short of the others.
    idle = found[0]
    found.append(Batch(step, idle.images, idle.targets, idle.positions, idle.samples, counted=0))
    return step, found


def objective(settings: SuperclassSettings | None = None) -> Superclass:
    torch.manual_seed(0)
    name = "vit_base_patch16_superclass_224"
    tower = models.create(ModelSettings(name=name, image_size=32, model_args=TINY), CLASSES)
    return Superclass.build(settings, Context(tower=tower, encode=lambda _: []))


def test_weights_over_50_steps_are_those_of_its_code_and_near_the_papers() -> None:
    """In pieces, one of which does not count."""
    made = objective()
    assert made.idf is not None
    assert made.idf.weights().tolist() == [1.0] * CLASSES
    frequency, seen, images = np.zeros(CLASSES), 0.0, np.zeros(CLASSES)
    for index, bag in enumerate(bags()):
        made.prepare(*pieces(bag, index, [5, 6]))
        frequency = frequency + bag.sum(0) / ROWS
        seen += 1
        expected = np.log((seen + 1 / ROWS) / (frequency + 1 / ROWS))
        np.testing.assert_array_equal(made.idf.frequency.numpy(), frequency)
        np.testing.assert_allclose(made.idf.weights().numpy(), expected.astype(np.float32), rtol=2e-7)
        images = images + bag.sum(0)
        # Equation 2, of all pairs so far: log(N / (1 + n)).
        papers = np.log(seen * ROWS / (1 + images))
        assert np.abs(expected - papers).max() <= math.log((seen * ROWS + 1) / (seen * ROWS)) + 1e-12
    assert made.idf.weights()[0] == 0


def test_the_loss_is_cross_entropy_against_the_weighed_bag_of_its_head() -> None:
    made = objective()
    *_, bag = bags()
    step, (batch, _) = pieces(bag, 0, [])
    made.prepare(step, [batch])
    made.eval()
    loss, parts, scores = made(batch)
    weights = np.log((1 + 1 / ROWS) / (bag.mean(0) + 1 / ROWS))
    target = F.normalize(torch.from_numpy(bag * weights).float(), p=1, dim=1)
    images = made.tower.preprocessing.prepared(batch.images)
    patches = made.model.forward_features(images)[:, 1:]
    head = made.model.head
    logits = head.fc(F.layer_norm(patches.mean(1), (16,), head.norm.weight, head.norm.bias, 1e-5))
    torch.testing.assert_close(loss, F.cross_entropy(logits, target))
    torch.testing.assert_close(scores, logits.log_softmax(1))
    assert parts["labels"].item() == pytest.approx(bag.sum() / ROWS)
    made.train()
    assert torch.equal(made(batch).loss, loss)  # nothing is counted but by `prepare`


def test_a_step_that_is_skipped_is_not_counted() -> None:
    made = objective()
    learner = Learner(made, OptimiserSettings(), World(cpu=True))
    first, second, third = bags()[:3]
    learner.step(*pieces(first, 0, [4]), 1e-3)
    with torch.no_grad():
        kept = made.model.head.fc.bias[3].item()
        made.model.head.fc.bias[3] = torch.inf
    underway = learner.step(*pieces(second, 1, [4]), 1e-3)
    assert not math.isfinite(underway.outcome().loss)
    with torch.no_grad():
        made.model.head.fc.bias[3] = kept
    learner.step(*pieces(third, 2, [4]), 1e-3)
    assert made.idf is not None
    assert made.idf.steps.item() == 2
    np.testing.assert_array_equal(made.idf.frequency.numpy(), first.sum(0) / ROWS + third.sum(0) / ROWS)


def test_without_idf_each_label_weighs_as_much() -> None:
    made = objective(SuperclassSettings(idf=False)).eval()
    assert not [name for name, _ in made.named_buffers() if "idf" in name]
    bag = bags()[7]
    _, (batch, _) = pieces(bag, 0, [])
    target = F.normalize(torch.from_numpy(bag).float(), p=1, dim=1)
    logits = made.model(made.tower.preprocessing.prepared(batch.images))
    torch.testing.assert_close(made(batch).loss, F.cross_entropy(logits, target))
