"""What fine-tuning reports."""

from typing import Literal

from pydantic import Field

from catlipctl.labels.targets import How
from catlipctl.results import Measurement
from catlipctl.settings.finetuning import Init
from catlipctl.transfer.metrics import ConfusedPair, Interval

PROTOCOL = "fine-tuning: all weights, cross-entropy, fixed length, last weights"


class FinetuneResult(Measurement):
    """A fine-tuned classifier, measured on the test images; accuracies in 0..1, their intervals by
    `metrics.interval`.

    prior: how the classifier's rows were made at the start; empty with fresh ones. weights: `average` where
    the EMA was evaluated and saved, else `raw`. history: accuracies on the way, by step.
    confused: the pairs of classes that are confused most.
    """

    protocol: str = PROTOCOL
    checkpoint: str
    run: str
    init: Init
    target: str
    split: str
    weights: Literal["average", "raw"]
    acc1: float
    acc1_interval: Interval
    acc5: float
    acc5_interval: Interval
    mean_per_class_recall: float
    mean_per_class_recall_interval: Interval
    prior: dict[How, int]
    steps: int
    seconds: float
    first_loss: float | None
    final_loss: float | None
    train_images: int
    test_images: int
    classes: int
    majority_share: float
    unreadable: int
    unlabelled: int
    history: list[dict[str, float]]
    confused: list[ConfusedPair] = Field(default_factory=list)
