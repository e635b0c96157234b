"""CLIP's objective: an image and its caption find each other among all of the step's (Radford et al. 2021).

Values and gradients are those of open_clip's model and `ClipLoss`, for any number of processes and pieces.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from catlipctl.data.batch import Step, share
from catlipctl.objectives.contrastive import Contrast, Contrastive


class Clip(Contrastive):
    """Cross-entropy of an image over all texts, and of a text over all images."""

    initial_scale = 1 / 0.07

    def contrast(self, features: tuple[Tensor, ...], step: Step, rank: int, world: int) -> Contrast:
        """By two gathers, of features and of log-sum-exps.

        With G rows in the step, logits are made for `[B, G]` only: from images and from texts.
        """
        images, texts = features
        if world == 1:
            all_images, all_texts = images, texts
            by_image = images @ texts.T
            by_text = by_image.T
        else:
            everything = gathered(torch.cat([images, texts], dim=1), step.rows, rank, world)
            all_images, all_texts = everything.chunk(2, dim=1)
            by_image, by_text = images @ all_texts.T, texts @ all_images.T
        own = torch.arange(len(images), device=images.device) + share(step.rows, rank, world).start
        sums = torch.stack([by_image.logsumexp(1), by_text.logsumexp(1)], dim=1)
        all_sums = gathered(sums, step.rows, rank, world)
        losses = sums.mean(dim=1) - by_image.gather(1, own[:, None])[:, 0]
        correct = by_image.argmax(dim=1) == own
        # All rows' losses by x_i: each y_j times (p(text j | image i) + p(image i | text j)) / 2, less y_i.
        weights = probabilities(by_image, sums[:, 0], all_sums[:, 1])
        to_images = torch.addmm(texts, weights, all_texts, beta=-1, alpha=0.5)
        weights = weights.T if world == 1 else probabilities(by_text, sums[:, 1], all_sums[:, 0])
        to_texts = torch.addmm(images, weights, all_images, beta=-1, alpha=0.5)
        return Contrast(losses, correct, (to_images, to_texts))


def probabilities(logits: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    """A logit's probability in its row plus that in its column: `[B, G]`, by log-sum-exps `[B]` and `[G]`."""
    return (logits - by_row[:, None]).exp_().add_((logits - by_column).exp_())


def gathered(local: Tensor, rows: int, rank: int, world: int) -> Tensor:
    """All processes' rows, `[G, K]`, in the order of the step; sizes are known, so none are sent."""
    if world == 1:
        return local
    sizes = [len(share(rows, other, world)) for other in range(world)]
    assert len(local) == sizes[rank], "the pieces are not this process's share of the step"
    padded = local.new_zeros(max(sizes), local.shape[1])
    padded[: len(local)] = local
    everything = local.new_empty(world * max(sizes), local.shape[1])
    dist.all_gather_into_tensor(everything, padded)
    parts = everything.split(max(sizes))
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
