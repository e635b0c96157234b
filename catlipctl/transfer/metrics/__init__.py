"""What a classifier's answers on test images are worth, how sure that is, and the answers one by one."""

from catlipctl.transfer.metrics.accuracy import (
    majority_share,
    mean_per_class_recall,
    restricted,
    share,
    top_k_hits,
)
from catlipctl.transfer.metrics.answers import Answers
from catlipctl.transfer.metrics.confusion import ConfusedPair, confusion, most_confused
from catlipctl.transfer.metrics.intervals import Interval, interval, mean_interval
from catlipctl.transfer.metrics.multi_label import MultiLabelAnswers, Precisions

__all__ = [
    "Answers",
    "ConfusedPair",
    "Interval",
    "MultiLabelAnswers",
    "Precisions",
    "confusion",
    "interval",
    "majority_share",
    "mean_interval",
    "mean_per_class_recall",
    "most_confused",
    "restricted",
    "share",
    "top_k_hits",
]
