"""From logits to the labels that are told of an image."""

from dataclasses import dataclass

from torch import Tensor

from catlipctl.checkpoints import Checkpoint

TOP = 5
LIKELIER_THAN_NOT = 0.5
"""The threshold of a classifier of several labels an image, whose sigmoids are learned probabilities."""


@dataclass(frozen=True)
class Choice:
    """Which labels of an image are told, the most probable first.

    top: at most so many; left out, 5, or with a threshold all that pass it. threshold: the least probability.
    With neither, a classifier of images with several labels tells those that are likelier than not.
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
        count, top, threshold = logits.shape[1], self.top, self.threshold
        if top is None and threshold is None:
            # A head of captions' words, or one made of it, hardly ever finds a word likelier than not.
            of_words = checkpoint.vocabulary is not None or checkpoint.config.get("kind") == "transfer-init"
            several = checkpoint.activation == "sigmoid" and not of_words
            top, threshold = (None, LIKELIER_THAN_NOT) if several else (TOP, None)
        if threshold is not None:
            count = int((probabilities >= threshold).sum(1).max())
        values, classes = probabilities.topk(count if top is None else min(top, count), dim=1)
        least = threshold or 0.0
        return [
            [(label, value) for label, value in zip(ids, row, strict=True) if value >= least]
            for ids, row in zip(classes.tolist(), values.tolist(), strict=True)
        ]
