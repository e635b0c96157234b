"""SuperCLIP's objective: CLIP, and a classifier on the image tower that tells the caption's words.

Zhao et al. 2025 (NeurIPS), arXiv 2512.14480. The classifier is the tower's head, as of all that learn labels;
the projection stands beside it. Both are given what the tower pools. Its code gives the classifier the mean
of the patches, where CLIP pools otherwise, and has a norm before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from catlipctl.data.batch import Batch, Step, Targets
from catlipctl.data.sample import Sample
from catlipctl.objectives.clip import Clip
from catlipctl.objectives.idf import InverseDocumentFrequency
from catlipctl.objectives.labelled import labelled
from catlipctl.objectives.losses import softmax
from catlipctl.objectives.objective import Collate, Context, LabelCollate, Output
from catlipctl.settings.objectives import ClipSettings, SuperclipSettings


@dataclass(frozen=True)
class Both:
    """What two collators make of the same samples."""

    one: Collate
    other: Collate

    def __call__(self, samples: Sequence[Sample], positions: NDArray[np.int64]) -> Targets:
        return {**self.one(samples, positions), **self.other(samples, positions)}


class Superclip(Clip):
    """CLIP's loss, plus the softmax cross-entropy of the head against the labels, weighed by IDF."""

    defaults: ClassVar[ClipSettings] = SuperclipSettings()
    extractor = "subword"
    outputs = frozenset({"projection"})
    exclusive = True
    needs_classes = True

    def __init__(self, settings: SuperclipSettings, context: Context) -> None:
        super().__init__(settings, context)
        assert context.encode is not None
        self.collate = Both(self.collate, LabelCollate(context.encode, context.captions))
        self.weight = settings.classification_weight
        self.idf = InverseDocumentFrequency(context.tower.num_classes) if settings.idf else None
        self.projection = nn.Linear(given(context.tower.head), settings.embed_dim)
        context.tower.head.register_forward_pre_hook(self._keep)
        self._pooled: Tensor | None = None
        self._logits: Tensor | None = None

    @staticmethod
    def head_size(settings: ClipSettings | None, classes: int | None) -> int:  # noqa: ARG004
        """The head is the classifier."""
        assert classes is not None
        return classes

    @classmethod
    def parameters_beside(cls, settings: ClipSettings | None, features: int) -> int:
        """As CLIP's, and the projection."""
        made = settings or cls.defaults
        return super().parameters_beside(made, features) + (features + 1) * made.embed_dim

    @classmethod
    def flops_beside(cls, settings: ClipSettings | None, features: int, captions: int = 1) -> int:
        """As CLIP's, and the projection's."""
        made = settings or cls.defaults
        return super().flops_beside(made, features, captions) + 2 * features * made.embed_dim

    def stand_ins(self, rows: int) -> Targets:
        """Empty captions, each with one label."""
        labels = {
            "classes": torch.zeros(rows, dtype=torch.int64),
            "counts": torch.ones(rows, dtype=torch.int64),
        }
        return {**super().stand_ins(rows), **labels}

    def prepare(self, step: Step, pieces: Sequence[Batch]) -> None:
        """As CLIP's; and count the labels of the whole step, where they are weighed by it."""
        super().prepare(step, pieces)
        self._pooled = self._logits = None
        if self.idf is not None:
            self.idf.count(step, pieces, self.world)

    def embedded(self, pixels: Tensor) -> Tensor:
        """The projection of what the head is given: the tower is gone through once for both."""
        self._logits = self.model(pixels)
        assert self._pooled is not None, "the tower calls its head"
        return self.projection(self._pooled)

    def forward(self, batch: Batch) -> Output:
        """As CLIP's; and the loss of classification, and labels an image."""
        contrasted = super().forward(batch)
        logits, self._pooled, self._logits = self._logits, None, None
        assert logits is not None
        pairs, told = labelled(batch, self.idf)
        loss = softmax(logits, pairs)
        parts = {
            **contrasted.parts,
            "classification": loss.detach(),
            **told,
        }
        scores = None if self.training else logits.float().log_softmax(1)
        return Output(contrasted.loss + self.weight * loss, parts, scores)

    def _keep(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        (self._pooled,) = inputs


def given(head: nn.Module) -> int:
    """How many numbers a head of linear layers and norms is given."""
    return next(layer.in_features for layer in head.modules() if isinstance(layer, nn.Linear))
