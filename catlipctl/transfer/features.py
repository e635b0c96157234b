"""What a frozen tower makes of images, extracted once; and the untrained tower that is its control."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn

from catlipctl.checkpoints import Checkpoint
from catlipctl.data import Source, read_images
from catlipctl.errors import CheckpointError, DataError
from catlipctl.labels.targets import LabelSet
from catlipctl.models import TimmTower, Tower
from catlipctl.progress import SILENT, Progress
from catlipctl.transfer import splits

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


def untrained(checkpoint: Checkpoint, seed: int) -> Tower:
    """The tower of `checkpoint` as it was before any training: freshly initialised from `seed`."""
    trained: Any = checkpoint.tower.module
    name = f"local-dir:{checkpoint.path}" if checkpoint.path else checkpoint.tower.name
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh: Any = timm.create_model(name, pretrained=False, num_classes=checkpoint.tower.num_classes)
    shapes, expected = (
        {key: value.shape for key, value in model.state_dict().items()} for model in (fresh, trained)
    )
    if shapes != expected:
        raise CheckpointError(
            f"cannot make an untrained tower like this one: timm's {name} differs",
            "write the model as a checkpoint of ours first: its config says how it is made",
        )
    # One that was made by its name alone has that name's preprocessing.
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


@dataclass(frozen=True)
class LabelledFeatures:
    """values: `[N, D]`, float32. labels: `[N]`, int64, class ids."""

    values: Tensor
    labels: Tensor


@dataclass(frozen=True)
class ProbeSets:
    """What a probe needs: features of the training and the test images, and the classes in order.

    test_samples: names of the test images. split: how the two were told apart. unreadable, unlabelled: images
    left out of both.
    """

    train: LabelledFeatures
    test: LabelledFeatures
    test_samples: Sequence[str]
    classes: LabelSet
    split: str
    unreadable: int
    unlabelled: int


def extract_sets(
    tower: Tower,
    train: Source,
    test: Source | None,
    *,
    target: LabelSet | None = None,
    train_size: splits.TrainSize = splits.ALL,
    seed: int = 0,
    reestimate: bool = False,
    workers: int = 0,
    progress: Progress = SILENT,
) -> ProbeSets:
    """Features and class ids of both splits.

    train_size: only a subset of the training images, decided by `seed`, is read. reestimate: first set
    BatchNorm's statistics to those of the training images: of all of them, whatever the train size, for they
    need no label and a control of few images would be a straw man.
    """
    sets = splits.labelled_sets(train, test, target, seed)
    all_indices = sets.train.indices
    train_indices = all_indices[splits.subset(sets.train.labels[all_indices], train_size, seed)]
    options: dict[str, Any] = {"workers": workers, "progress": progress}
    if reestimate:
        reestimate_batch_norm(tower, train, all_indices.tolist(), **options)
    trained = extract(
        tower,
        train,
        train_indices.tolist(),
        description="features of training images",
        **options,
    )
    tested = extract(
        tower,
        sets.test.source,
        sets.test.indices.tolist(),
        description="features of test images",
        **options,
    )
    return ProbeSets(
        train=LabelledFeatures(trained.values, sets.train.labels[trained.samples]),
        test=LabelledFeatures(tested.values, sets.test.labels[tested.samples]),
        test_samples=tested.keys,
        classes=sets.classes,
        split=sets.split,
        unreadable=trained.unreadable + tested.unreadable,
        unlabelled=sets.unlabelled,
    )
