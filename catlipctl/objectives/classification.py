"""Classification into exclusive classes, by cross-entropy: what fine-tuning and probes by training learn."""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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

    def logits(self, images: Tensor) -> Tensor:
        """`[B, K]` of images as the tower wants them."""
        logits: Tensor = self.model(images)
        return logits

    def forward(self, batch: Batch) -> Output:
        """The loss, in float32 at least; and the share of images whose class has the largest logit."""
        images, losses = self.pixels(batch)
        classes = batch.targets["classes"]
        logits = self.logits(images)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        loss = F.cross_entropy(logits, classes, label_smoothing=self.label_smoothing)
        accuracy = (logits.argmax(dim=1) == classes).float().mean()
        return Output(sum(losses.values(), loss), {"accuracy": accuracy, **losses})


class NormedClassification(Classification):
    """A classifier on features that a BatchNorm without weights standardises: MAE's linear probe.

    The tower learns nothing. Its own linear head is not called: a checkpoint's has the BatchNorm folded in.
    """

    EPS, SPREAD = 1e-6, 0.01  # MAE's code

    def __init__(self, settings: ClassificationSettings, context: Context) -> None:
        super().__init__(settings, context)
        head = context.tower.linear_head()
        self.model.requires_grad_(False)
        self.norm = nn.BatchNorm1d(head.in_features, eps=self.EPS, affine=False)
        self.classifier = nn.Linear(head.in_features, head.out_features)
        nn.init.trunc_normal_(self.classifier.weight, std=self.SPREAD)
        nn.init.zeros_(self.classifier.bias)
        self._head = next(name for name, module in self.model.named_modules() if module is head)

    def logits(self, images: Tensor) -> Tensor:
        """As above: of the features."""
        logits: Tensor = self.classifier(self.norm(self.tower.features(images)))
        return logits

    @torch.no_grad()
    def finished(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The head is W (x - m) / s + b, with the running statistics, as one linear layer."""
        if not weights:
            return weights
        scale = (weights["norm.running_var"] + self.EPS).rsqrt()
        weight = weights["classifier.weight"] * scale
        bias = weights["classifier.bias"] - weight @ weights["norm.running_mean"]
        head = f"model.{self._head}"
        return {**weights, f"{head}.weight": weight, f"{head}.bias": bias}
