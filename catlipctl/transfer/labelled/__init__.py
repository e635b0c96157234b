"""Labelled images: their classes, those that train and those that test, and subsets of them."""

from catlipctl.transfer.labelled.classes import (
    UNLABELLED,
    class_ids,
    class_matrix,
    named_classes,
    rows_by_number,
    without_images,
)
from catlipctl.transfer.labelled.splits import (
    TEST_SHARE,
    Labelled,
    LabelledSets,
    described,
    inputs,
    labelled_sets,
    open_splits,
)
from catlipctl.transfer.labelled.subsets import ALL, TrainSize, folds, held_out, strata, subset

__all__ = [
    "ALL",
    "TEST_SHARE",
    "UNLABELLED",
    "Labelled",
    "LabelledSets",
    "TrainSize",
    "class_ids",
    "class_matrix",
    "described",
    "folds",
    "held_out",
    "inputs",
    "labelled_sets",
    "named_classes",
    "open_splits",
    "rows_by_number",
    "strata",
    "subset",
    "without_images",
]
