"""What a linear probe is given: the training and the test images' features, with the class of each."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from catlipctl.data import Preprocessing, Source
from catlipctl.errors import DataError
from catlipctl.labels.targets import LabelSet
from catlipctl.progress import SILENT, Progress
from catlipctl.transfer import classes, features, splits

TEST_SHARE = 0.2


@dataclass(frozen=True)
class LabelledFeatures:
    """values: `[N, D]`, float32. labels: `[N]`, int64, class ids."""

    values: Tensor
    labels: Tensor


@dataclass(frozen=True)
class ProbeSets:
    """What a probe needs: features of the training and the test images, and the classes in order.

    split: how the two were told apart. unreadable, unlabelled: images left out of both.
    """

    train: LabelledFeatures
    test: LabelledFeatures
    classes: LabelSet
    split: str
    unreadable: int
    unlabelled: int


def extract_sets(
    model: nn.Module,
    preprocessing: Preprocessing,
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
    names = train.labels()
    present = classes.named_classes(names, target)
    labels = classes.class_ids(names, present)
    chosen = labels != classes.UNLABELLED
    if test is None:
        split = f"{TEST_SHARE:.0%} of each class held out for the test, seed {seed}"
        held_out = splits.held_out(labels, TEST_SHARE, seed) & chosen
        source, chosen, test_labels, test_chosen = train, chosen & ~held_out, labels, held_out
    else:
        split = f"the images of {test.name}"
        test_labels = classes.class_ids(test.labels(), present)
        source, test_chosen = test, test_labels != classes.UNLABELLED
    if not test_chosen.any():
        raise DataError("there is no labelled test image", "give more images a class, or --test SOURCE")
    all_indices, test_indices = (torch.where(mask)[0] for mask in (chosen, test_chosen))
    train_indices = all_indices[splits.subset(labels[all_indices], train_size, seed)]
    options: dict[str, Any] = {"workers": workers, "progress": progress}
    if reestimate:
        features.reestimate_batch_norm(model, train, preprocessing, all_indices.tolist(), **options)
    trained = features.extract(
        model,
        train,
        preprocessing,
        train_indices.tolist(),
        description="features of training images",
        **options,
    )
    tested = features.extract(
        model,
        source,
        preprocessing,
        test_indices.tolist(),
        description="features of test images",
        **options,
    )
    unlabelled = int((labels == classes.UNLABELLED).sum())
    if test is not None:
        unlabelled += int((test_labels == classes.UNLABELLED).sum())
    return ProbeSets(
        train=LabelledFeatures(trained.values, labels[trained.samples]),
        test=LabelledFeatures(tested.values, test_labels[tested.samples]),
        classes=present,
        split=split,
        unreadable=trained.unreadable + tested.unreadable,
        unlabelled=unlabelled,
    )
