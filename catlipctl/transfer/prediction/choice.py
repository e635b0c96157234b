"""From logits to the labels that are told of an image."""

from dataclasses import dataclass

from torch import Tensor

from catlipctl.checkpoints import Checkpoint

TOP = 5


@dataclass(frozen=True)
class Choice:
    """Which labels of an image are told, the most probable first.

    top: at most so many; left out, 5, or with a threshold all that pass it. threshold: the least probability.
    """

    top: int | None = None
    threshold: float | None = None

    def chosen(self, checkpoint: Checkpoint, logits: Tensor) -> list[list[tuple[int, float]]]:
        """Class and probability of each label that is told of each image. logits: `[B, V]`.

        Probabilities are as the checkpoint's `problem_type` says: a softmax over labels that exclude each
        other, or a sigmoid a label, where a picture may show several.
        """
        logits = logits.float()
        probabilities = logits.softmax(1) if checkpoint.activation == "softmax" else logits.sigmoid()
        count = logits.shape[1]
        if self.threshold is not None:
            count = int((probabilities >= self.threshold).sum(1).max())
        top = TOP if self.top is None and self.threshold is None else self.top
        values, classes = probabilities.topk(count if top is None else min(top, count), dim=1)
        least = self.threshold or 0.0
        return [
            [(label, value) for label, value in zip(ids, row, strict=True) if value >= least]
            for ids, row in zip(classes.tolist(), values.tolist(), strict=True)
        ]
