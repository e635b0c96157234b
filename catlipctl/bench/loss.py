"""`bench loss`: head and loss, forward and backward, against the three matrix products that no head avoids.

Those of the logits, of the features' gradient and of the weight's gradient, in the same shapes and precision.
What is beyond them is the loss, the bias, and autograd. torch's dense cross-entropy stands beside,
on targets that are made before.
"""

import os
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from catlipctl.bench.learners import CLASSES, zipf_labels
from catlipctl.bench.result import LossBenchmark, LossRow, Spread
from catlipctl.bench.turns import Way, in_turns
from catlipctl.errors import OutOfMemory
from catlipctl.objectives.losses import Pairs, label_loss
from catlipctl.progress import SILENT, Progress
from catlipctl.settings.losses import LabelSettings, Loss
from catlipctl.training.tuning import float32_products
from catlipctl.training.world import World

PRODUCTS = "matrix products"


class LossSettings(BaseModel):
    """Settings of `bench loss`. width: of the features, ViT-B's. rounds: turns of each that count.

    losses: those to measure, each in turn.
    """

    model_config = ConfigDict(extra="forbid")

    batch_size: int = Field(default=256, ge=1)
    classes: int = Field(default=CLASSES, ge=1)
    width: int = Field(default=768, ge=1)
    rounds: int = Field(default=12, ge=1)
    losses: tuple[Loss, ...] = ("bce",)
    seed: int = 0


def loss(settings: LossSettings, progress: Progress = SILENT) -> LossBenchmark:
    """Measure in this process; OutOfMemory where the logits do not fit."""
    world, load = World(), os.getloadavg()[0]
    device, precision = world.device, world.precision("auto")
    head, features, pairs = made_up_head(settings, world)
    dense = torch.zeros(settings.batch_size, settings.classes, device=device)
    dense[pairs.rows, pairs.classes] = 1

    def torchs(logits: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, dense, reduction="sum") / settings.batch_size

    ways = {PRODUCTS: products(head.weight.detach().to(precision), features)}
    for name in settings.losses:
        ways[f"head and {name}"] = learning(head, features, on_pairs(name, pairs))
    ways["head and dense bce"] = learning(head, features, torchs)
    try:
        with float32_products(device, "auto"):
            taken = in_turns(ways, settings.rounds, device, progress)
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            f"{settings.batch_size} x {settings.classes:,} logits do not fit", "take a smaller --batch-size"
        ) from error
    kind = str(precision).removeprefix("torch.")
    operations = 6 * settings.batch_size * settings.width * settings.classes
    return LossBenchmark(
        protocol=f"head and loss, forward and backward: batch {settings.batch_size}, "
        f"{settings.classes} classes, width {settings.width}, {kind} on {device.type}",
        seed=settings.seed,
        data={"features": "synthetic", "labels": "synthetic"},
        batch_size=settings.batch_size,
        classes=settings.classes,
        width=settings.width,
        device=device.type,
        precision=kind,
        flops_per_second=operations / Spread.of(taken[PRODUCTS]).median,
        rows=[
            LossRow(
                name=name,
                seconds=Spread.of(found),
                rounds=found,
                ratio=Spread.of([a / b for a, b in zip(found, taken[PRODUCTS], strict=True)])
                if name != PRODUCTS
                else None,
            )
            for name, found in taken.items()
        ],
        load=(round(load, 2), round(os.getloadavg()[0], 2)),
    )


def made_up_head(settings: LossSettings, world: World) -> tuple[nn.Linear, Tensor, Pairs]:
    """A head, features `[B, D]` in the precision of a step, and their labels."""
    torch.manual_seed(settings.seed)
    device, images = world.device, settings.batch_size
    head = nn.Linear(settings.width, settings.classes, device=device)
    features = torch.randn(images, settings.width, device=device, dtype=world.precision("auto"))
    classes, counts = zipf_labels(np.random.default_rng(settings.seed), images, settings.classes)
    return head, features, Pairs.of_counts(classes.to(device), counts.to(device))


def on_pairs(name: Loss, pairs: Pairs) -> Callable[[Tensor], Tensor]:
    """A loss of logits alone."""
    loss = label_loss(LabelSettings(loss=name))
    return lambda logits: loss(logits, pairs)


def products(weight: Tensor, features: Tensor) -> Way:
    """The logits of `features [B, D]`, and with the logits for a gradient that of features and of weights."""

    def way(times: int) -> None:
        for _ in range(times):
            logits = features @ weight.T
            logits @ weight
            logits.T @ features

    return way


def learning(head: nn.Linear, features: Tensor, loss: Callable[[Tensor], Tensor]) -> Way:
    """The head's logits, their loss, and the gradients of features, weight and bias."""
    given = features.clone().requires_grad_()
    low = features.dtype != torch.float32

    def way(times: int) -> None:
        for _ in range(times):
            with torch.autocast(features.device.type, features.dtype, enabled=low):
                loss(head(given)).backward()
            for tensor in (given, head.weight, head.bias):
                tensor.grad = None

    return way
