"""What a frozen tower makes of images, extracted once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from catlipctl.data import Source, read_images
from catlipctl.errors import DataError
from catlipctl.models import Tower
from catlipctl.progress import SILENT, Progress

BATCH = 256


@dataclass(frozen=True)
class Features:
    """values: `[N, D]`, float32, what the head is given. samples: `[N]`, the source's indices.

    keys: of these samples. unreadable: images left out.
    """

    values: Tensor
    samples: Tensor
    keys: list[str]
    unreadable: int


@torch.inference_mode()
def extract(
    tower: Tower,
    source: Source,
    indices: Sequence[int] | None = None,
    *,
    workers: int = 0,
    description: str = "extracting features",
    progress: Progress = SILENT,
) -> Features:
    """Features of the samples `indices` (all), in their order, a batch of images in memory at a time.

    The tower is used in eval mode on whatever device it is. Raises DataError where no image can be read.
    """
    device = next(tower.module.eval().parameters()).device
    reader = read_images(source, tower.preprocessing, indices, batch=BATCH, workers=workers)
    values, samples = [], []
    total = len(source) if indices is None else len(indices)
    with progress.task(description, total, "images") as task:
        for images, read in reader:
            images = tower.preprocessing.prepared(images.to(device))
            values.append(tower.features(images).float().cpu())
            samples.append(read)
            task.advance(len(read))
    if not values:
        raise DataError(
            f"none of the {total:,} images of {source.name} can be read", "check that they are images"
        )
    if reader.unreadable:
        progress.warn(f"{source.name}: {reader.unreadable:,} unreadable images are left out")
    # A copy made outside inference mode, so that callers may use the features as they like.
    with torch.inference_mode(False):
        return Features(torch.cat(values).clone(), torch.cat(samples).clone(), reader.keys, reader.unreadable)
