"""`bench loss`: head and loss, forward and backward, against the three matrix products that no head avoids.

Those of the logits, of the features' gradient and of the weight's gradient, in the same shapes and precision.
What is beyond them is the loss, the bias, and autograd. torch's dense cross-entropy stands beside, on targets
that are made before.
"""

import os
from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from catlipctl.bench.comparison import CLASSES, zipf_labels
from catlipctl.bench.result import LossBenchmark, LossCase, LossRow, Spread
from catlipctl.bench.turns import Way, in_turns
from catlipctl.errors import OutOfMemory
from catlipctl.objectives.losses import Pairs, label_loss
from catlipctl.pretraining.cost import Alive
from catlipctl.progress import SILENT, Progress
from catlipctl.settings.losses import LabelSettings, Loss
from catlipctl.training.tuning import float32_products
from catlipctl.training.world import World

PRODUCTS = "matrix products"


class LossSettings(BaseModel):
    """Settings of `bench loss`: all combinations of batch and vocabulary.

    width: of the features, ViT-B's. rounds: turns of each that count. losses: those to measure.
    """

    model_config = ConfigDict(extra="forbid")

    batch_sizes: list[int] = Field(default=[256], min_length=1)
    classes: list[int] = Field(default=[CLASSES], min_length=1)
    width: int = Field(default=768, ge=1)
    rounds: int = Field(default=12, ge=1)
    losses: tuple[Loss, ...] = ("bce",)
    seed: int = 0


class Shape(NamedTuple):
    """Of the logits, and how many features they are made of."""

    batch_size: int
    classes: int
    width: int


def loss(settings: LossSettings, progress: Progress = SILENT) -> LossBenchmark:
    """Measure in this process; OutOfMemory where the logits do not fit."""
    world, load = World(), os.getloadavg()[0]
    precision = world.precision("auto")
    shapes = [Shape(*one, settings.width) for one in product(settings.batch_sizes, settings.classes)]
    kind = str(precision).removeprefix("torch.")
    cases = [_case(shape, settings, world, precision, progress) for shape in shapes]
    told = "; ".join(f"{one.batch_size} x {one.classes}" for one in shapes)
    return LossBenchmark(
        protocol=f"head and loss, forward and backward: batch x classes {told}, width {settings.width}, "
        f"{kind} on {world.device.type}",
        seed=settings.seed,
        data={"features": "synthetic", "labels": "synthetic"},
        width=settings.width,
        device=world.device.type,
        precision=kind,
        cases=cases,
        load=(round(load, 2), round(os.getloadavg()[0], 2)),
    )


def _case(
    shape: Shape, settings: LossSettings, world: World, precision: torch.dtype, progress: Progress
) -> LossCase:
    device = world.device
    try:
        ways, given = made_up_ways(shape, settings.losses, settings.seed, device, precision)
        with float32_products(device, "auto"):
            peaks = {name: most_bytes(way, given) for name, way in ways.items()}
            taken = in_turns(ways, settings.rounds, device, progress)
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            f"{shape.batch_size} x {shape.classes:,} logits do not fit", "take a smaller --batch-size"
        ) from error
    first = taken[PRODUCTS]
    operations = 6 * shape.batch_size * shape.width * shape.classes
    return LossCase(
        batch_size=shape.batch_size,
        classes=shape.classes,
        flops_per_second=operations / Spread.of(first).median,
        rows=[
            LossRow(
                name=name,
                seconds=Spread.of(found),
                rounds=found,
                ratio=Spread.of([a / b for a, b in zip(found, first, strict=True)])
                if name != PRODUCTS
                else None,
                memory_bytes=peaks[name],
            )
            for name, found in taken.items()
        ],
    )


def made_up_ways(
    shape: Shape, losses: Sequence[Loss], seed: int, device: torch.device, precision: torch.dtype
) -> tuple[dict[str, Way], list[Tensor]]:
    """The products, the head with our losses and with torch's; and what they are given."""
    head, features, pairs = made_up_head(shape, seed, device, precision)
    dense = torch.zeros(shape.batch_size, shape.classes, device=device)
    dense[pairs.rows, pairs.classes] = 1

    def torchs(logits: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, dense, reduction="sum") / shape.batch_size

    weight = head.weight.detach().to(precision)
    ways = {PRODUCTS: products(weight, features)}
    for name in losses:
        ways[f"head and {name}"] = learning(head, features, on_pairs(name, pairs))
    ways["head and dense bce"] = learning(head, features, torchs)
    return ways, [weight, *head.parameters(), features, pairs.rows, pairs.classes, dense]


def most_bytes(way: Way, given: Sequence[Tensor]) -> int:
    """Bytes alive at once of what the work makes: logits, their gradient, the gradients of head and features.

    What it is given, as the dense loss's targets, is not in it.
    """
    with Alive(given) as alive:
        way(1)
    return alive.most


def made_up_head(
    shape: Shape, seed: int, device: torch.device, precision: torch.dtype
) -> tuple[nn.Linear, Tensor, Pairs]:
    """A head, features `[B, D]` in the precision of a step, and their labels."""
    torch.manual_seed(seed)
    images = shape.batch_size
    head = nn.Linear(shape.width, shape.classes, device=device)
    features = torch.randn(images, shape.width, device=device, dtype=precision)
    classes, counts = zipf_labels(np.random.default_rng(seed), images, shape.classes)
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
