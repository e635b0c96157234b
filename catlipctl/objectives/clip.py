"""CLIP's objective: an image and its caption find each other among all of the step's (Radford et al. 2021).

Values and gradients are those of open_clip's model and `ClipLoss`, for any number of processes and pieces.
Its gradient with respect to the features is written down, not found by autograd: so no process ever holds all
pairs, nothing is sent in the backward pass, and a step taken in pieces has the gradient of one big batch (the
features of all pieces first, without autograd; then each piece again, which is given its gradient: Gao et
al. 2021).
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import FlopCounterMode

from catlipctl.data.batch import Batch, Step, Targets, share
from catlipctl.models.text import TokenCollate, create_text_tower
from catlipctl.objectives.objective import Context, Objective, Output, unchanged_buffers
from catlipctl.settings.objectives import ClipSettings

INITIAL_SCALE = 1 / 0.07
LARGEST_SCALE = 100.0


class Clip(Objective):
    """Image tower, whose head is the projection; text tower; and the logarithm of the logits' scale."""

    undecayed = frozenset({"logit_scale"})
    needs_classes = False

    def __init__(self, settings: ClipSettings, context: Context) -> None:
        super().__init__(context)
        self.settings = settings
        self.collate = TokenCollate(settings.text.context_length, context.seed)
        self.text = create_text_tower(settings.text, settings.embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))
        self.rank, self.world = context.rank, context.world
        self._prepared: deque[Contrast] = deque()

    @classmethod
    def build(cls, settings: ClipSettings | None, context: Context) -> Self:
        """Without settings: open_clip's text tower of the ViT-B models."""
        return cls(settings or ClipSettings(), context)

    @staticmethod
    def head_size(settings: ClipSettings | None, classes: int | None) -> int:  # noqa: ARG004
        """The head is the projection of images."""
        return (settings or ClipSettings()).embed_dim

    @staticmethod
    def parameters_beside(settings: ClipSettings | None) -> int:
        """The text tower's, and the scale."""
        return 1 + sum(parameter.numel() for parameter in _text_on_meta(settings).parameters())

    @staticmethod
    def flops_beside(settings: ClipSettings | None) -> int:
        """The text tower's, of one caption; the products of all pairs are left out."""
        text = _text_on_meta(settings).eval()
        tokens = torch.empty((1, (settings or ClipSettings()).text.context_length), dtype=torch.int64)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            text(tokens.to("meta"))
        return counter.get_total_flops()

    def stand_ins(self, rows: int) -> Targets:
        """Empty captions."""
        return {"tokens": torch.zeros((rows, self.settings.text.context_length), dtype=torch.int64)}

    def prepare(self, step: Step, pieces: Sequence[Batch]) -> None:
        """Contrast all pieces of a step before the first is learned from; one alone is left to `forward`.

        The pieces are on the device. Dropout in the towers draws anew in `forward`.
        """
        self._prepared.clear()
        if len(pieces) == 1:
            return
        with torch.no_grad(), unchanged_buffers(self):
            features = [self.features(piece)[:2] for piece in pieces]
        images, texts = (torch.cat(parts) for parts in zip(*features, strict=True))
        found = contrast(images, texts, step, self.rank, self.world)
        rows = [piece.counted for piece in pieces]
        self._prepared.extend(map(Contrast, *(part.split(rows) for part in found)))

    def forward(self, batch: Batch) -> Output:
        """The mean of this batch's rows; and the share of images that find their own text, and the scale.

        After `prepare` it is called with the pieces in their order. In eval mode the batch's pairs are
        contrasted among themselves.
        """
        images, texts, losses = self.features(batch)
        if not self.training:
            found = contrast(images, texts, batch.step, 0, 1)
            accuracy = found.correct.float().mean()
            return Output(found.losses.mean(), {"accuracy": accuracy})
        if self._prepared:
            found = self._prepared.popleft()
        else:
            found = contrast(images.detach(), texts.detach(), batch.step, self.rank, self.world)
        loss: Tensor = _MeanWithGradient.apply(images, texts, *found[:3])
        accuracy = found.correct.sum() / max(1, batch.counted)
        parts = {"accuracy": accuracy, "logit_scale": self.logit_scale.detach().exp(), **losses}
        return Output(sum(losses.values(), loss), parts)

    def towers(self) -> list[nn.Module]:
        """The image tower and the text tower."""
        return [self.model, self.text]

    def features(self, batch: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Of the rows that count: images times the scale and texts, `[B, D]`; and losses of augmentation.

        The scale is bounded here. open_clip does it after each optimiser step, which no objective sees; all
        that is computed with it is the same.
        """
        if self.training:
            with torch.no_grad():
                self.logit_scale.clamp_(0, math.log(LARGEST_SCALE))
        pixels, losses = self.pixels(batch)
        images = unit(self.model(pixels)[: batch.counted]) * self.logit_scale.exp()
        texts = unit(self.text(batch.targets["tokens"])[: batch.counted])
        return images, texts, losses


def _text_on_meta(settings: ClipSettings | None) -> nn.Module:
    made = settings or ClipSettings()
    with torch.device("meta"):
        return create_text_tower(made.text, made.embed_dim)


class Contrast(NamedTuple):
    """What a process's rows come to among all of the step's.

    losses: `[B]`, half an image's cross-entropy over all texts and half its text's over all images.
    to_images, to_texts: `[B, D]`, the gradient of the sum of *all* rows' losses, on every process, with
    respect to these features. correct: `[B]`, whether the image is nearest to its own text.
    """

    losses: Tensor
    to_images: Tensor
    to_texts: Tensor
    correct: Tensor


@torch.no_grad()
def contrast(images: Tensor, texts: Tensor, step: Step, rank: int, world: int) -> Contrast:
    """Contrast this process's rows, its `share` of the step, with those of all processes.

    images, texts: `[B, D]`, float32 or float64; an inner product is a logit. Two gathers, of features and of
    log-sum-exps. With G rows in the step, logits are made for `[B, G]` only: from images and from texts.
    """
    with torch.autocast(images.device.type, enabled=False):
        if world == 1:
            all_images, all_texts = images, texts
            by_image = images @ texts.T
            by_text = by_image.T
        else:
            features = gathered(torch.cat([images, texts], dim=1), step.rows, rank, world)
            all_images, all_texts = features.chunk(2, dim=1)
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
    return Contrast(losses, to_images, to_texts, correct)


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


class _MeanWithGradient(torch.autograd.Function):
    """The mean of losses of which the gradient with respect to the features is known.

    The loop weighs a piece's loss by rows * processes / all rows, and gradients are averaged over processes.
    So each feature's known gradient, of the sum over *all* rows, is to be divided by this piece's rows: what
    remains of the loop's weights is 1 / all rows, the gradient of the mean over the step.
    """

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,  # noqa: ARG004
        texts: Tensor,  # noqa: ARG004
        losses: Tensor,
        to_images: Tensor,
        to_texts: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(to_images, to_texts)
        return losses.sum() / max(1, len(losses))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        to_images, to_texts = ctx.saved_tensors
        scale = gradient / max(1, len(to_images))
        return to_images * scale, to_texts * scale, None, None, None


def unit(features: Tensor) -> Tensor:
    """Features of length one, in float32 at least."""
    return F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)
