"""Labelled images: their classes, those that train and those that test, and subsets of them."""

from catlipctl.transfer.labelled.classes import UNLABELLED, class_ids, named_classes, without_images
from catlipctl.transfer.labelled.splits import (
    TEST_SHARE,
    Labelled,
    LabelledSets,
    described,
    inputs,
    labelled_sets,
    open_splits,
)
from catlipctl.transfer.labelled.subsets import ALL, TrainSize, folds, held_out, subset

__all__ = [
    "ALL",
    "TEST_SHARE",
    "UNLABELLED",
    "Labelled",
    "LabelledSets",
    "TrainSize",
    "class_ids",
    "described",
    "folds",
    "held_out",
    "inputs",
    "labelled_sets",
    "named_classes",
    "open_splits",
    "subset",
    "without_images",
]
