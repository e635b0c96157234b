"""Features and classes of the images that train a classifier and of those that test it."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor

from catlipctl.data import Source
from catlipctl.data.sample import Selection
from catlipctl.errors import UsageError
from catlipctl.labels.targets import LabelSet
from catlipctl.models import Tower
from catlipctl.progress import SILENT, Progress
from catlipctl.training.world import World
from catlipctl.transfer.features.extraction import extract
from catlipctl.transfer.features.untrained import reestimate_batch_norm
from catlipctl.transfer.labelled import ALL, TrainSize, labelled_sets, subset, without_images


@dataclass(frozen=True)
class LabelledFeatures:
    """values: `[N, D]`, float32; of patches `[N, T, D]`, float16. labels: `[N]`, int64, class ids; of several
    an image `[N, K]`, bool.
    """

    values: Tensor
    labels: Tensor


class Extraction(BaseModel):
    """What features cost: seconds, and images that the tower was given; cached: that were known before."""

    seconds: float = 0.0
    images: int = 0
    cached: int = 0


@dataclass(frozen=True)
class ProbeSets:
    """What a probe needs: features of the training and the test images, and the classes in order.

    test_samples: names of the test images. test_images: themselves, in the same order. split: how the two
    were told apart. unreadable, unlabelled: images left out of both. scored: as `Labelled` has it of the test
    images.
    """

    train: LabelledFeatures
    test: LabelledFeatures
    test_samples: Sequence[str]
    classes: LabelSet
    split: str
    unreadable: int
    unlabelled: int
    extraction: Extraction = field(default_factory=Extraction)
    scored: Tensor | None = None
    test_images: Source | None = None


def extract_sets(
    tower: Tower,
    train: Source,
    test: Source | None,
    *,
    target: LabelSet | None = None,
    train_size: TrainSize = ALL,
    seed: int = 0,
    reestimate: bool = False,
    most_bytes: int | None = None,
    multi_label: bool | None = None,
    label_base: int | None = None,
    cache: Path | None = None,
    world: World | None = None,
    workers: int = 0,
    progress: Progress = SILENT,
) -> ProbeSets:
    """Features and class ids of both splits.

    train_size: only a subset of the training images, decided by `seed`, is read. reestimate: first set
    BatchNorm's statistics to those of the training images: of all of them, whatever the train size, for they
    need no label and a control of few images would be a straw man. most_bytes: UsageError, before the work,
    where the features of all images take more. multi_label, label_base: of `labelled_sets`. cache, world: as
    `extract` has them: of several processes the first alone has the features.
    """
    start = time.monotonic()
    sets = labelled_sets(train, test, target, seed, multi_label=multi_label, label_base=label_base)
    if absent := without_images(target, sets.classes):
        progress.note(absent)
    all_indices = sets.train.indices
    train_indices = all_indices[subset(sets.train.labels[all_indices], train_size, seed)]
    options: dict[str, Any] = {"workers": workers, "progress": progress}
    if most_bytes is not None:
        _refuse_above(most_bytes, tower, len(train_indices) + len(sets.test.indices))
    if reestimate:
        reestimate_batch_norm(tower, train, all_indices.tolist(), **options)
    options |= {"cache": cache, "world": world}
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
        extraction=Extraction(
            seconds=round(time.monotonic() - start, 3),
            images=(given := trained.extracted + tested.extracted),
            cached=len(train_indices) + len(sets.test.indices) - given,
        ),
        scored=sets.test.scored,
        test_images=Selection(sets.test.source, tested.samples.tolist()),
    )


@torch.inference_mode()
def _refuse_above(most_bytes: int, tower: Tower, images: int) -> None:
    """What one image takes is tried on a black one."""
    size = tower.preprocessing.size
    device = next(tower.module.eval().parameters()).device
    one = tower.features(torch.zeros(1, 3, size, size, device=device))
    needed = images * one.nbytes
    if needed > most_bytes:
        shape = " x ".join(f"{n:,}" for n in (images, *one.shape[1:]))
        gib, allowed = needed / 2**30, most_bytes / 2**30
        raise UsageError(
            f"the features ({shape}) take {gib:,.1f} GiB, and {allowed:,.1f} are allowed",
            f"allow them with --max-memory {math.ceil(gib)}, where this machine has twice that, or take "
            "fewer images: --train-size 10%",
        )
