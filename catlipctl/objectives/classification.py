"""Classification into exclusive classes, by cross-entropy: what fine-tuning learns."""

from typing import Self

import torch
import torch.nn.functional as F

from catlipctl.data.batch import Batch
from catlipctl.objectives.objective import Context, LabelCollate, Objective, Output
from catlipctl.settings.objectives import ClassificationSettings


class Classification(Objective):
    """Softmax cross-entropy on the head's logits. `encode` gives one id a sample, or raises."""

    def __init__(self, settings: ClassificationSettings, context: Context) -> None:
        super().__init__(context)
        assert context.encode is not None
        self.collate = LabelCollate(context.encode)
        self.label_smoothing = settings.label_smoothing

    @classmethod
    def build(cls, settings: ClassificationSettings | None, context: Context) -> Self:
        """Without settings: no label smoothing."""
        return cls(settings or ClassificationSettings(), context)

    def forward(self, batch: Batch) -> Output:
        """The loss, in float32 at least; and the share of images whose class has the largest logit."""
        images, losses = self.pixels(batch)
        classes = batch.targets["classes"]
        logits = self.model(images)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        loss = F.cross_entropy(logits, classes, label_smoothing=self.label_smoothing)
        accuracy = (logits.argmax(dim=1) == classes).float().mean()
        return Output(sum(losses.values(), loss), {"accuracy": accuracy, **losses})
