"""What a whole tower with a classifier says of test images."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from catlipctl.data import read_images
from catlipctl.errors import DataError
from catlipctl.models import Tower
from catlipctl.transfer.labelled import Labelled
from catlipctl.transfer.metrics import Answers, restricted

BATCH = 256


def answers(
    tower: Tower, weights: Mapping[str, Tensor], test: Labelled, device: torch.device, *, workers: int = 0
) -> tuple[Answers, int]:
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
    found = restricted(torch.cat(logits), test.scored)
    return Answers(found, test.labels[torch.cat(samples)], reader.keys), reader.unreadable
