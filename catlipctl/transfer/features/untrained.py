"""The untrained tower that a trained one is compared with."""

from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.models import get_model_args
from torch import nn

from catlipctl.checkpoints import Checkpoint
from catlipctl.data import Source, read_images
from catlipctl.errors import CheckpointError
from catlipctl.models import TimmTower, Tower
from catlipctl.progress import SILENT, Progress
from catlipctl.transfer.features.extraction import BATCH


def untrained(checkpoint: Checkpoint, seed: int) -> Tower:
    """The tower of `checkpoint` as it was before any training: freshly initialised from `seed`."""
    trained: Any = checkpoint.tower.module
    name = f"local-dir:{checkpoint.path}" if checkpoint.path else checkpoint.tower.name
    # A folder says itself how its tower is made.
    arguments = {} if checkpoint.path else get_model_args(trained)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh: Any = timm.create_model(
            name, pretrained=False, **{**arguments, "num_classes": checkpoint.tower.num_classes}
        )
    shapes, expected = (
        {key: value.shape for key, value in model.state_dict().items()} for model in (fresh, trained)
    )
    if shapes != expected:
        raise CheckpointError(
            f"cannot make an untrained tower like this one: timm's {name} differs",
            "write the model as a checkpoint of ours first: its config says how it is made",
        )
    # One that was made by its name has that name's preprocessing.
    fresh.pretrained_cfg = trained.pretrained_cfg
    return TimmTower(fresh.eval())


@torch.no_grad()
def reestimate_batch_norm(
    tower: Tower,
    source: Source,
    indices: Sequence[int] | None = None,
    *,
    workers: int = 0,
    progress: Progress = SILENT,
) -> None:
    """Set BatchNorm's statistics to those of the images: the average over the batches of one pass.

    A fresh tower's are 0 and 1, which no tower of trained statistics may fairly be compared with. Towers
    without BatchNorm are left as they are.
    """
    model = tower.module
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
        for images, read in read_images(source, tower.preprocessing, indices, batch=BATCH, workers=workers):
            if len(read) > 1:  # one image has no variance where the map is one pixel
                model(tower.preprocessing.prepared(images.to(device)))
            task.advance(len(read))
    model.eval()
