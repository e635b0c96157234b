"""The two that are compared: CatLIP and CLIP around the same image tower, with optimiser and inputs."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from catlipctl import objectives
from catlipctl.bench import configuration as configurations
from catlipctl.bench import synthetic
from catlipctl.bench.settings import Comparison
from catlipctl.training import optimiser
from catlipctl.training.world import World

OPTIMISER = optimiser.OptimiserSettings(
    lr=5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2, clip_norm=None
)
"""open_clip's defaults for a ViT, on both sides."""


@dataclass
class Learner:
    """One objective ready to train on its inputs.

    objective: `objective(*inputs)` is the loss. towers: the part of it before the loss (image tower and
    head, or both towers). parameters: how many numbers learn.
    """

    name: str
    objective: nn.Module
    towers: nn.Module
    inputs: tuple[Any, ...]
    optimiser: torch.optim.Optimizer
    parameters: int


class Contrastive(nn.Module):
    """open_clip's model and its contrastive loss, with the flags that cost least over several processes."""

    def __init__(self, model: nn.Module, world: World) -> None:
        super().__init__()
        self.model = model
        # open_clip 3.3 gathers by torch's older name for it.
        warnings.filterwarnings("ignore", "torch.distributed.nn.functional.all_gather", FutureWarning)
        self.loss = open_clip.ClipLoss(
            local_loss=True, gather_with_grad=True, cache_labels=True, rank=world.rank, world_size=world.size
        )

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        loss: Tensor = self.loss(**self.model(images, tokens))
        return loss


def catlip(comparison: Comparison, world: World) -> Learner:
    """CatLIP: the configuration's image tower, with a linear head in the projection's place."""
    torch.manual_seed(comparison.seed)
    configuration = configurations.find(comparison.model)
    trunk, width = configurations.image_trunk(configuration)
    model = nn.Sequential(trunk, nn.Linear(width, comparison.classes))
    batch = synthetic.image_label_batch(comparison, configurations.image_size(configuration), world.rank)
    return _learner("CatLIP", objectives.create("catlip", model), model, (batch.to(world.device),), world)


def clip(comparison: Comparison, world: World) -> Learner:
    """CLIP: the configuration as open_clip builds it, and open_clip's loss."""
    torch.manual_seed(comparison.seed)
    configuration = configurations.find(comparison.model)
    model = configurations.clip_model(configuration)
    images = synthetic.image_label_batch(
        comparison, configurations.image_size(configuration), world.rank
    ).images
    tokens = synthetic.token_batch(comparison, configuration["text_cfg"], world.rank)
    inputs = (images.to(world.device), tokens.to(world.device))
    return _learner("CLIP", Contrastive(model, world), model, inputs, world)


LEARNERS: dict[str, Callable[[Comparison, World], Learner]] = {"CatLIP": catlip, "CLIP": clip}


def _learner(
    name: str, objective: nn.Module, towers: nn.Module, inputs: tuple[Any, ...], world: World
) -> Learner:
    objective.to(world.device).train()
    return Learner(
        name=name,
        objective=world.wrap(objective),
        towers=towers,
        inputs=inputs,
        optimiser=optimiser.create(OPTIMISER, objective),
        parameters=sum(parameter.numel() for parameter in objective.parameters()),
    )
