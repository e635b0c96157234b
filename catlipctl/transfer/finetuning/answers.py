"""What a whole tower with a classifier says of test images."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from catlipctl.data import read_images
from catlipctl.data.sample import Selection
from catlipctl.errors import DataError
from catlipctl.models import Tower
from catlipctl.transfer.labelled import Labelled
from catlipctl.transfer.metrics import Answers, MultiLabelAnswers, restricted

BATCH = 256


def answers(
    tower: Tower, weights: Mapping[str, Tensor], test: Labelled, device: torch.device, *, workers: int = 0
) -> tuple[Answers | MultiLabelAnswers, int]:
    """What a tower with these weights says of the test images, among the classes that are scored.

    With the number of those that are unreadable.

    Raises DataError where none can be read.
    """
    module = copy.deepcopy(tower.module)
    module.load_state_dict(weights)
    module.to(device)
    reader = read_images(
        test.source, tower.preprocessing, test.indices.tolist(), batch=BATCH, workers=workers
    )
    logits, samples = [], []
    with torch.inference_mode():
        module.eval()
        for images, read in reader:
            logits.append(module(tower.preprocessing.prepared(images.to(device))).float().cpu())
            samples.append(read)
    if not samples:
        raise DataError(
            f"none of the test images of {test.source.name} can be read", "check that they are images"
        )
    found, seen = restricted(torch.cat(logits), test.scored), torch.cat(samples)
    labels, answered = test.labels[seen], reader.keys
    if labels.dim() == 1:
        in_order = Selection(test.source, seen.tolist())
        return Answers(found, labels, answered, in_order), reader.unreadable
    return MultiLabelAnswers(found, labels, answered), reader.unreadable


def figures(found: Answers | MultiLabelAnswers, seed: int, classes: Sequence[str]) -> dict[str, Any]:
    """What the answers are worth, by the names of the result's fields."""
    return found.figures(seed) if isinstance(found, Answers) else found.figures(seed, classes)


def means(found: Answers | MultiLabelAnswers, seed: int) -> dict[str, float]:
    """What is told of an evaluation on the way."""
    if isinstance(found, MultiLabelAnswers):
        return found.means()
    scores = found.figures(seed)
    return {name: scores[name] for name in ("acc1", "mean_per_class_recall")}
