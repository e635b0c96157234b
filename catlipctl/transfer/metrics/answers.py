"""A classifier's answers on test images: what they are worth, and the answers one by one."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from catlipctl.data import Source
from catlipctl.transfer.metrics.accuracy import majority_share, mean_per_class_recall, share, top_k_hits
from catlipctl.transfer.metrics.confusion import ConfusedPair, confusion, most_confused
from catlipctl.transfer.metrics.intervals import interval
from catlipctl.transfer.metrics.thumbnails import thumbnails, typical_mistakes

RESULT = "result.json"
PREDICTIONS = "predictions.csv"
"""Files that every evaluation writes."""
MISTAKES = "mistakes.json"
"""Of one whose classes exclude each other."""


@dataclass(frozen=True)
class Answers:
    """logits: `[N, K]`. labels: `[N]`, the true class ids. samples: N names of the test images.

    images: the test images themselves, in order, for pictures of mistakes.
    """

    logits: Tensor
    labels: Tensor
    samples: Sequence[str]
    images: Source | None = None

    def figures(self, seed: int) -> dict[str, Any]:
        """Accuracies in 0..1, each with its interval, whose resamples are drawn by `seed`."""
        first, fifth = (top_k_hits(self.logits, self.labels, k) for k in (1, 5))
        return {
            "acc1": share(first),
            "acc1_interval": interval(first, seed),
            "acc5": share(fifth),
            "acc5_interval": interval(fifth, seed),
            "mean_per_class_recall": mean_per_class_recall(self.logits, self.labels),
            "mean_per_class_recall_interval": interval(first, seed, self.labels),
            "majority_share": majority_share(self.labels),
            "test_images": len(self.labels),
        }

    def confused(self, classes: Sequence[str]) -> list[ConfusedPair]:
        """The pairs of classes that are confused most."""
        return most_confused(confusion(self.logits, self.labels), classes)

    def files(self, classes: Sequence[str]) -> dict[str, str]:
        """What an evaluation keeps of them, by file name."""
        found = {PREDICTIONS: self.table(classes)}
        if self.images is not None:
            mistakes = typical_mistakes(self.logits, self.labels)
            found[MISTAKES] = thumbnails(mistakes, self.images, self.samples, classes)
        return found

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """What an evaluation keeps of them as safetensors files: nothing that the table has not."""
        return {}

    def table(self, classes: Sequence[str]) -> str:
        """As CSV: sample, truth, predicted and probability (softmax) of what is predicted; labels by name."""
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["sample", "truth", "predicted", "probability"])
        best = self.logits.softmax(1).max(1)
        rows = zip(
            self.samples, self.labels.tolist(), best.indices.tolist(), best.values.tolist(), strict=True
        )
        for sample, truth, predicted, probability in rows:
            writer.writerow([sample, classes[truth], classes[predicted], f"{probability:.6g}"])
        return stream.getvalue()
