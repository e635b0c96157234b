"""What fine-tuning reports."""

from typing import Literal

from pydantic import BaseModel

from catlipctl.labels.targets import How
from catlipctl.results import Measurement
from catlipctl.settings.finetuning import FinetuneRecipe, Init, Rows
from catlipctl.transfer.metrics import ConfusedPair, Interval, Precisions

PROBE_PROTOCOL = "linear probe, paper: the classifier alone, AdamW on augmented passes"
MAE_PROTOCOL = "linear probe, mae: the classifier on a BatchNorm without weights, LARS on augmented passes"
PROTOCOL = "fine-tuning: all weights, cross-entropy, fixed length, last weights"
MULTI_LABEL_PROTOCOL = (
    "multi-label fine-tuning: all weights, binary cross-entropy, fixed length, last weights"
)


def protocol(recipe: FinetuneRecipe, rows: Rows | None, *, multi_label: bool) -> str:
    """By which figures of a run may stand beside others: of a probe with what decides how far it learns.

    rows: of the classifier at the start, None with fresh ones.
    """
    calibrated = ", from calibrated rows" if rows == "calibrated" else ""
    if recipe.learns == "all":
        return (MULTI_LABEL_PROTOCOL if multi_label else PROTOCOL) + calibrated
    length = f"{getattr(recipe.length, recipe.length.unit):,g} {recipe.length.unit}"
    named = MAE_PROTOCOL if recipe.classifier_norm and recipe.optimiser.name == "lars" else PROBE_PROTOCOL
    rate = recipe.optimiser.peak(recipe.global_batch_size)
    told = f"{named}, {length}, batch {recipe.global_batch_size:,}, lr {rate:g}"
    return (f"multi-label {told}" if multi_label else told) + calibrated


class Finetuned(BaseModel):
    """How a classifier was fine-tuned.

    prior: how the classifier's rows were made at the start; empty with fresh ones. rows: which of Transfer
    Init's they were, None with fresh ones. weights: `average` where the EMA was evaluated and saved, else
    `raw`. history: figures on the way, by step. confused: the pairs of exclusive classes that are confused
    most.
    """

    checkpoint: str
    run: str
    init: Init
    target: str
    split: str
    weights: Literal["average", "raw"]
    prior: dict[How, int]
    rows: Rows | None = None
    steps: int
    seconds: float
    first_loss: float | None
    final_loss: float | None
    train_size: str
    random_backbone: bool
    train_images: int
    test_images: int
    classes: int
    unreadable: int
    unlabelled: int
    history: list[dict[str, float]]
    confused: list[ConfusedPair] = []


class FinetuneResult(Finetuned, Measurement):
    """A fine-tuned classifier, measured on the test images; accuracies in 0..1, their intervals by
    `metrics.interval`.
    """

    protocol: str = PROTOCOL
    acc1: float
    acc1_interval: Interval
    acc5: float
    acc5_interval: Interval
    mean_per_class_recall: float
    mean_per_class_recall_interval: Interval
    majority_share: float


class MultiLabelFinetuneResult(Finetuned, Precisions, Measurement):
    """A fine-tuned classifier of images with several labels."""

    protocol: str = MULTI_LABEL_PROTOCOL
