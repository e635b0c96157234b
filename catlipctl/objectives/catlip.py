"""CatLIP's objective: classification by the labels of captions, without ever making a dense target.

By default as in CatLIP 3.1 by binary cross-entropy; its settings name other losses, and weights of labels.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

from catlipctl.data.batch import Batch, Step
from catlipctl.objectives.idf import InverseDocumentFrequency
from catlipctl.objectives.labelled import labelled
from catlipctl.objectives.losses import EXCLUSIVE, label_loss
from catlipctl.objectives.objective import Context, LabelCollate, Objective, Output
from catlipctl.settings.losses import CatlipSettings, LabelSettings


class Catlip(Objective):
    """A loss over classes on the head's logits, of which each image has a few."""

    defaults: ClassVar[LabelSettings] = CatlipSettings()
    """The settings of a recipe that says nothing."""

    def __init__(self, settings: LabelSettings, context: Context) -> None:
        super().__init__(context)
        assert context.encode is not None
        self.collate = LabelCollate(context.encode, context.captions)
        self.loss = label_loss(settings)
        self.exclusive = settings.loss in EXCLUSIVE
        self.idf = InverseDocumentFrequency(context.tower.num_classes) if settings.idf else None
        self.world = context.world

    @classmethod
    def build(cls, settings: LabelSettings | None, context: Context) -> Self:
        """Without settings: `defaults`."""
        return cls(settings or cls.defaults, context)

    def prepare(self, step: Step, pieces: Sequence[Batch]) -> None:
        """Count the labels of the whole step, where they are weighed by it."""
        if self.idf is not None:
            self.idf.count(step, pieces, self.world)

    def forward(self, batch: Batch) -> Output:
        """The loss, RangeAugment's included; labels an image, and the share of images that have none."""
        images, losses = self.pixels(batch)
        pairs, told = labelled(batch, self.idf)
        logits = self.model(images)
        loss = self.loss(logits, pairs)
        parts = {**told, **losses}
        if self.training:
            return Output(sum(losses.values(), loss), parts)
        # A softmax's logits say nothing across images.
        scores = logits.float().log_softmax(1) if self.exclusive else logits
        return Output(sum(losses.values(), loss), parts, scores)
