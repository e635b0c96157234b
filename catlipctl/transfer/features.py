"""What a frozen tower makes of images, extracted once; and the untrained tower that is its control."""

from collections.abc import Sequence
from dataclasses import dataclass

import timm
import torch
from torch import Tensor, nn

from catlipctl import models
from catlipctl.checkpoints import Checkpoint
from catlipctl.data import Preprocessing, Source, read_images
from catlipctl.errors import CheckpointError, DataError
from catlipctl.progress import SILENT, Progress
from catlipctl.transfer.classifier import architecture

BATCH = 256


@dataclass(frozen=True)
class Features:
    """values: `[N, D]`, float32, what the head is given. samples: `[N]`, the source's indices.

    unreadable: images left out.
    """

    values: Tensor
    samples: Tensor
    unreadable: int


@torch.inference_mode()
def extract(
    model: nn.Module,
    source: Source,
    preprocessing: Preprocessing,
    indices: Sequence[int] | None = None,
    *,
    workers: int = 0,
    description: str = "extracting features",
    progress: Progress = SILENT,
) -> Features:
    """Features of the samples `indices` (all), in their order, a batch of images in memory at a time.

    The model is used in eval mode on whatever device it is. Raises DataError where no image can be read.
    """
    device = next(model.parameters()).device
    reader = read_images(source, preprocessing, indices, batch=BATCH, workers=workers)
    values, samples = [], []
    total = len(source) if indices is None else len(indices)
    with progress.task(description, total, "images") as task:
        for images, read in reader:
            values.append(models.features(model.eval(), images.to(device)).float().cpu())
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
        return Features(torch.cat(values).clone(), torch.cat(samples).clone(), reader.unreadable)


def untrained(checkpoint: Checkpoint, seed: int) -> nn.Module:
    """The tower of `checkpoint` as it was before any training: freshly initialised from `seed`."""
    name = f"local-dir:{checkpoint.path}" if checkpoint.path else architecture(checkpoint)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = timm.create_model(name, pretrained=False, num_classes=checkpoint.model.num_classes)
    shapes, expected = (
        {key: value.shape for key, value in model.state_dict().items()} for model in (fresh, checkpoint.model)
    )
    if shapes != expected:
        raise CheckpointError(
            f"an untrained tower like this one cannot be made: timm's {name} is another",
            "write the model as a checkpoint of ours first: its config says how it is made",
        )
    return fresh.eval()


@torch.no_grad()
def reestimate_batch_norm(
    model: nn.Module,
    source: Source,
    preprocessing: Preprocessing,
    indices: Sequence[int] | None = None,
    *,
    workers: int = 0,
    progress: Progress = SILENT,
) -> None:
    """Set BatchNorm's statistics to those of the images: the average over the batches of one pass.

    A fresh tower's are 0 and 1, which no tower of trained statistics may fairly be compared with. Towers
    without BatchNorm are left as they are.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's name for the cumulative average
        norm.train()
    device = next(model.parameters()).device
    total = len(source) if indices is None else len(indices)
    with progress.task("re-estimating BatchNorm statistics", total, "images") as task:
        for images, read in read_images(source, preprocessing, indices, batch=BATCH, workers=workers):
            if len(read) > 1:  # one image has no variance where the map is one pixel
                model(images.to(device))
            task.advance(len(read))
    model.eval()
