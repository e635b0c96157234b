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
    With neither, a tagger has a threshold a label, and a classifier of images with several labels tells those
    that are likelier than not.
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
        least = self._least(checkpoint, probabilities)
        if least is not None:
            probabilities = probabilities.where(probabilities >= least, -1)
        most = logits.shape[1] if least is None else int((probabilities >= 0).sum(1).max())
        top = TOP if self.top is None and least is None else self.top
        values, classes = probabilities.topk(most if top is None else min(top, most), dim=1)
        return [
            [(label, value) for label, value in zip(ids, row, strict=True) if value >= 0]
            for ids, row in zip(classes.tolist(), values.tolist(), strict=True)
        ]

    def _least(self, checkpoint: Checkpoint, probabilities: Tensor) -> Tensor | None:
        """The least probability, `[1]` or `[V]`; None where all are told, up to `top`."""
        if self.threshold is not None:
            return probabilities.new_tensor([self.threshold])
        if self.top is not None:
            return None
        if checkpoint.thresholds is not None:
            return probabilities.new_tensor(checkpoint.thresholds)
        # A head of captions' words, or one made of it, hardly ever finds a word likelier than not.
        of_words = checkpoint.vocabulary is not None or checkpoint.config.get("kind") == "transfer-init"
        several = checkpoint.activation == "sigmoid" and not of_words
        return probabilities.new_tensor([LIKELIER_THAN_NOT]) if several else None
