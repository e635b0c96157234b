"""The steps that our learner is held against: as open_clip and timm write them, with nothing around.

Forward, loss, backward, clipping, optimiser. Nothing is summed up, looked at, or averaged.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import open_clip
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from timm.loss.binary_cross_entropy import BinaryCrossEntropy
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from catlipctl.bench import configuration as configurations
from catlipctl.bench.comparison import OPTIMISER, Comparison, Entry, made_up_batch
from catlipctl.bench.spans import Contestant, Mark, Span
from catlipctl.training.world import World


class Plain:
    """A model of others, stepped by hand. loss: of what the model returns for images and `inputs`."""

    def __init__(
        self,
        module: nn.Module,
        images: Tensor,
        inputs: Sequence[Tensor],
        loss: Callable[[Any], Tensor],
        world: World,
        precision: torch.dtype,
    ) -> None:
        self.module = module.to(world.device).train()
        parameters = list(module.parameters())
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
                {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": OPTIMISER.weight_decay},
            ],
            lr=OPTIMISER.lr,
            betas=OPTIMISER.betas,
            eps=OPTIMISER.eps,
            fused=True,
        )
        self._wrapped = module if world.size == 1 else DistributedDataParallel(module)
        self._images, self._inputs, self._loss = images, inputs, loss
        mean, std = (
            torch.tensor(numbers, device=world.device)[:, None, None]
            for numbers in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)
        )
        self._mean, self._std = mean, std
        self._device, self._precision = world.device.type, precision

    def step(self, mark: Mark) -> float:
        """Take a step; the loss before it, looked at when the step is over."""
        images = self._images.float().div_(255).sub_(self._mean).div_(self._std)
        with torch.autocast(self._device, self._precision, enabled=self._precision != torch.float32):
            outputs = self._wrapped(images, *self._inputs)
            mark(Span("forward"))
            loss = self._loss(outputs)
        mark(Span("loss"))
        loss.backward()
        mark(Span("backward"))
        assert OPTIMISER.clip_norm is not None
        nn.utils.clip_grad_norm_(self.module.parameters(), OPTIMISER.clip_norm)
        self.optimiser.step()
        # Here, as the learner does: memory that one keeps while others step is warm for it alone.
        self.optimiser.zero_grad()
        mark(Span("optimiser"))
        return float(loss.detach())


def plain_timm(entry: Entry, comparison: Comparison, world: World) -> Contestant:
    """The image tower with its classifier, and timm's binary cross-entropy on targets made dense before."""
    torch.manual_seed(comparison.seed)
    classes = comparison.classes_of(entry.objective)
    module = configurations.image_tower(comparison.configuration(), classes).module
    batch = made_up_batch(comparison, world).to(world.device)
    rows = torch.arange(len(batch), device=world.device).repeat_interleave(batch.targets["counts"])
    dense = torch.zeros(len(batch), classes, device=world.device)
    dense[rows, batch.targets["classes"]] = 1
    cross_entropy = BinaryCrossEntropy(smoothing=0.0, sum_classes=True)
    precision = world.precision(comparison.precision)
    return Plain(module, batch.images, [], lambda logits: cross_entropy(logits, dense), world, precision)


def plain_open_clip(entry: Entry, comparison: Comparison, world: World) -> Contestant:
    """open_clip's model and its contrastive loss, with the flags that cost least over several processes."""
    torch.manual_seed(comparison.seed)
    # open_clip 3.3 gathers by torch's older name for it.
    warnings.filterwarnings("ignore", "torch.distributed.nn.functional.all_gather", FutureWarning)
    contrast = open_clip.ClipLoss(
        local_loss=True, gather_with_grad=True, cache_labels=True, rank=world.rank, world_size=world.size
    )
    model: Any = configurations.clip_model(comparison.configuration(entry.context))
    batch = made_up_batch(comparison, world, entry.objective, entry.context).to(world.device)
    precision, tokens = world.precision(comparison.precision), batch.targets["tokens"]
    plain = Plain(model, batch.images, [tokens], lambda found: contrast(**found), world, precision)

    @torch.no_grad()
    def bound(*_: Any) -> None:
        model.logit_scale.clamp_(0, math.log(100))

    plain.optimiser.register_step_post_hook(bound)
    return plain
