"""SigLIP's objective: does a pair of an image and a text belong together, of all pairs (Zhai et al. 2023)?

Values and gradients are those of open_clip's model and `SigLipLoss`, for any number of processes and pieces.
"""

from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from catlipctl.data.batch import Batch, Step, share
from catlipctl.objectives.contrastive import Contrast, Contrastive
from catlipctl.objectives.objective import Context
from catlipctl.settings.objectives import ClipSettings

INITIAL_BIAS = -10.0
"""Nearly no pair belongs together: from a start at 0 the first steps would learn only that (section 3.2)."""


class Siglip(Contrastive):
    """The sum over all pairs of a step, over its images. It learns the logits' bias, too."""

    initial_scale = 10.0
    scalars = 2
    undecayed = frozenset({"logit_scale", "logit_bias"})

    def __init__(self, settings: ClipSettings, context: Context) -> None:
        super().__init__(settings, context)
        self.logit_bias = nn.Parameter(torch.tensor(INITIAL_BIAS))

    def features(self, batch: Batch) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """As above, and the bias of each row: `[B]`."""
        (images, texts), losses = super().features(batch)
        return (images, texts, self.logit_bias.expand(len(images))), losses

    def told(self) -> dict[str, Tensor]:
        """Scale and bias."""
        return {**super().told(), "logit_bias": self.logit_bias.detach().clone()}

    def contrast(self, features: tuple[Tensor, ...], step: Step, rank: int, world: int) -> Contrast:
        """By a ring: each process's texts visit all others, and their gradient comes home behind them.

        Nothing is gathered. Logits are made for `[B, B]` at a time: of this process's images and the texts
        that are here, while the next ones arrive.
        """
        images, texts, biases = features
        sizes = [len(share(step.rows, other, world)) for other in range(world)]
        assert len(images) == sizes[rank], "the pieces are not this process's share of the step"
        visitors = texts.new_zeros(max(sizes), texts.shape[1])
        visitors[: len(texts)] = texts
        to_visitors = torch.zeros_like(visitors)
        to_images, to_biases, losses = map(torch.zeros_like, (images, biases, biases))
        beaten = torch.zeros_like(biases, dtype=torch.bool)
        own = biases
        gradient_arrived = kept(to_visitors)
        for hop in range(world):
            here = visitors[: sizes[(rank - hop) % world]]
            texts_arrived = passed_on(visitors, rank, world) if hop + 1 < world else kept(visitors)
            logits = torch.addmm(biases[:, None], images, here.T)
            if hop == 0:
                own = logits.diagonal().clone()
            beaten |= (logits > own[:, None]).any(dim=1)
            # What a pair costs is softplus(z), and softplus(-z) where it belongs together.
            if hop == 0:
                logits.diagonal().neg_()
            losses += F.softplus(logits, threshold=40).sum(dim=1)
            slopes = logits.sigmoid_()
            if hop == 0:
                slopes.diagonal().neg_()
            to_images.addmm_(slopes, here)
            to_biases += slopes.sum(dim=1)
            to_visitors = gradient_arrived()
            to_visitors[: len(here)].addmm_(slopes.T, images)
            gradient_arrived = passed_on(to_visitors, rank, world)
            visitors = texts_arrived()
        return Contrast(losses, ~beaten, (to_images, gradient_arrived()[: len(texts)], to_biases))


def kept(tensor: Tensor) -> Callable[[], Tensor]:
    """What is here already, as `passed_on` gives it."""
    return lambda: tensor


def passed_on(tensor: Tensor, rank: int, world: int) -> Callable[[], Tensor]:
    """Begin to give a tensor to the next process of the ring, and to take the last one's, of the same shape.

    Gives what waits for both. `tensor` must stay as it is until then. All processes call.
    """
    if world == 1:
        return kept(tensor)
    arriving = torch.empty_like(tensor)
    ways = [
        dist.P2POp(dist.isend, tensor, (rank + 1) % world),
        dist.P2POp(dist.irecv, arriving, (rank - 1) % world),
    ]
    works = dist.batch_isend_irecv(ways)

    def arrived() -> Tensor:
        for work in works:
            work.wait()
        return arriving

    return arrived
