"""What is compared, and at which size."""

import torch
from pydantic import BaseModel, ConfigDict, Field

CLASSES = 24_320
"""The paper's vocabulary of DataComp at threshold 500 (CatLIP 3.2)."""


class Comparison(BaseModel):
    """What both sides have in common.

    model: an open_clip configuration, by name or as a JSON file of the same form.
    batch_size: images of each process.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    batch_size: int
    classes: int
    seed: int


class StepSettings(BaseModel):
    """Settings of `bench step`; a model and a batch that are None are chosen for the device.

    rounds: steps of each objective that count, rounded up to an even number; None takes as many as fit in
    half a minute.
    """

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    batch_size: int | None = Field(default=None, ge=2)
    rounds: int | None = Field(default=None, ge=1)
    classes: int = Field(default=CLASSES, ge=1)
    seed: int = 0

    def comparison(self, device: torch.device) -> Comparison:
        """ViT-B-16 and 256 images on a GPU, ViT-S-16 and 8 elsewhere, where nothing else is asked for."""
        model, batch_size = ("ViT-B-16", 256) if device.type == "cuda" else ("ViT-S-16", 8)
        return Comparison(
            model=self.model or model,
            batch_size=self.batch_size or batch_size,
            classes=self.classes,
            seed=self.seed,
        )
