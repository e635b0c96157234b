"""What objectives with a text tower share: an image and its caption are told from all others of the step.

A step has the values and gradients of one big batch, for any number of processes and pieces. The gradient
with respect to the features is written down, not found by autograd: so no process ever holds all pairs,
nothing is sent in the backward pass, and a step may be taken in pieces (the features of all pieces first,
without autograd; then each piece again, which is given its gradient: Gao et al. 2021).
"""

import math
from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import FlopCounterMode

from catlipctl.data.batch import Batch, Step, Targets
from catlipctl.models.text import TokenCollate, create_text_tower
from catlipctl.objectives.objective import Context, Objective, Output, unchanged_buffers
from catlipctl.settings.objectives import ClipSettings

LARGEST_SCALE = 100.0


class Contrast(NamedTuple):
    """What a process's rows come to among all of the step's.

    losses: `[B]`; their mean over all rows of the step is the loss. correct: `[B]`, whether the image is
    nearest to its own text; of several captions how many, by weight. gradients: one for each of the
    features, and of its shape: of the sum of *all* rows' losses, on every process, with respect to this
    process's rows.
    """

    losses: Tensor
    correct: Tensor
    gradients: tuple[Tensor, ...]

    def split(self, rows: Sequence[int]) -> list["Contrast"]:
        """Those of each piece."""
        gradients = zip(*(gradient.split(rows) for gradient in self.gradients), strict=True)
        return list(map(Contrast, self.losses.split(rows), self.correct.split(rows), gradients))


class Contrastive(Objective):
    """Image tower, whose head is the projection; text tower; and the logarithm of the logits' scale."""

    undecayed = frozenset({"logit_scale"})
    needs_classes = False
    defaults: ClassVar[ClipSettings] = ClipSettings()
    """The settings of a recipe that says nothing: open_clip's text tower of the ViT-B models."""
    initial_scale: ClassVar[float]
    scalars: ClassVar[int] = 1
    """Numbers that learn beside the towers."""

    def __init__(self, settings: ClipSettings, context: Context) -> None:
        super().__init__(context)
        self.settings = settings
        weights = context.captions or (1.0,)
        self.captions = [weight / sum(weights) for weight in weights]
        self.collate = TokenCollate(settings.text.context_length, len(weights))
        self.text = create_text_tower(settings.text, settings.embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(self.initial_scale)))
        self.rank, self.world = context.rank, context.world
        self._prepared: deque[Contrast] = deque()

    @classmethod
    def build(cls, settings: ClipSettings | None, context: Context) -> Self:
        """Without settings: `defaults`."""
        return cls(settings or cls.defaults, context)

    @staticmethod
    def head_size(settings: ClipSettings | None, classes: int | None) -> int:  # noqa: ARG004
        """The head is the projection of images."""
        return (settings or ClipSettings()).embed_dim

    @classmethod
    def parameters_beside(cls, settings: ClipSettings | None, features: int) -> int:  # noqa: ARG003
        """The text tower's, and the scalars."""
        return cls.scalars + sum(parameter.numel() for parameter in _text_on_meta(settings).parameters())

    @classmethod
    def flops_beside(
        cls,
        settings: ClipSettings | None,
        features: int,  # noqa: ARG003
        captions: int = 1,
    ) -> int:
        """The text tower's; the products of all pairs are left out."""
        text = _text_on_meta(settings).eval()
        tokens = torch.empty((1, (settings or ClipSettings()).text.context_length), dtype=torch.int64)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            text(tokens.to("meta"))
        return counter.get_total_flops() * captions

    def stand_ins(self, rows: int) -> Targets:
        """Empty captions."""
        several = (len(self.captions),) if len(self.captions) > 1 else ()
        shape = (rows, *several, self.settings.text.context_length)
        return {"tokens": torch.zeros(shape, dtype=torch.int64)}

    def towers(self) -> list[nn.Module]:
        """The image tower and the text tower."""
        return [self.model, self.text]

    @abstractmethod
    def contrast(self, features: tuple[Tensor, ...], step: Step, rank: int, world: int) -> Contrast:
        """Contrast this process's rows, its `share` of the step, with those of all processes.

        All processes call. Features are those of one caption an image, all `[B, ...]`. They have no gradient,
        and are float32 or float64 under any autocast.
        """

    def prepare(self, step: Step, pieces: Sequence[Batch]) -> None:
        """Contrast all pieces of a step before the first is learned from; one alone is left to `forward`.

        The pieces are on the device. Dropout in the towers draws anew in `forward`.
        """
        self._prepared.clear()
        if len(pieces) == 1:
            return
        with torch.no_grad(), unchanged_buffers(self):
            features = [self.features(piece)[0] for piece in pieces]
        whole = tuple(torch.cat(parts) for parts in zip(*features, strict=True))
        found = self._contrasted(whole, step, self.rank, self.world)
        self._prepared.extend(found.split([piece.counted for piece in pieces]))

    def forward(self, batch: Batch) -> Output:
        """The mean of this batch's rows; and the share of images that find their own text, and the scale.

        After `prepare` it is called with the pieces in their order. In eval mode the batch's pairs are
        contrasted among themselves.
        """
        features, losses = self.features(batch)
        if not self.training:
            found = self._contrasted(features, batch.step, 0, 1)
            accuracy = found.correct.float().mean()
            return Output(found.losses.mean(), {"accuracy": accuracy})
        if self._prepared:
            found = self._prepared.popleft()
        else:
            found = self._contrasted(features, batch.step, self.rank, self.world)
        loss: Tensor = _MeanWithGradient.apply(found.losses, *features, *found.gradients)
        accuracy = found.correct.sum() / max(1, batch.counted)
        return Output(sum(losses.values(), loss), {"accuracy": accuracy, **self.told(), **losses})

    def embedded(self, pixels: Tensor) -> Tensor:
        """What texts are compared with: `[B, D]`, of any length."""
        embedded: Tensor = self.model(pixels)
        return embedded

    def told(self) -> dict[str, Tensor]:
        """What learns beside the towers."""
        return {"logit_scale": self.logit_scale.detach().exp()}

    @torch.no_grad()
    def _contrasted(self, features: tuple[Tensor, ...], step: Step, rank: int, world: int) -> Contrast:
        with torch.autocast(features[0].device.type, enabled=False):
            images, texts, *rest = (part.detach() for part in features)
            found = [self.contrast((images, one, *rest), step, rank, world) for one in texts.unbind(1)]
            return averaged(found, self.captions)

    def features(self, batch: Batch) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Of the rows that count: images times the scale, `[B, D]`, and texts, `[B, C, D]`, of C captions.

        And losses of augmentation.

        The scale is bounded here. open_clip does it after each optimiser step, which no objective sees; all
        that is computed with it is the same.
        """
        if self.training:
            with torch.no_grad():
                self.logit_scale.clamp_(0, math.log(LARGEST_SCALE))
        pixels, losses = self.pixels(batch)
        images = unit(self.embedded(pixels)[: batch.counted]) * self.logit_scale.exp()
        tokens = batch.targets["tokens"]
        texts = unit(self.text(tokens.flatten(0, -2)).unflatten(0, (len(tokens), -1))[: batch.counted])
        return (images, texts), losses


def _text_on_meta(settings: ClipSettings | None) -> nn.Module:
    made = settings or ClipSettings()
    with torch.device("meta"):
        return create_text_tower(made.text, made.embed_dim)


def averaged(found: Sequence[Contrast], weights: Sequence[float]) -> Contrast:
    """The contrasts of each of an image's captions as one: their mean by weight."""

    def weighed(parts: Iterable[Tensor]) -> list[Tensor]:
        return [part * weight for part, weight in zip(parts, weights, strict=True)]

    images, texts, *rest = (weighed(parts) for parts in zip(*(one.gradients for one in found), strict=True))
    return Contrast(
        torch.stack(weighed(one.losses for one in found)).sum(0),
        torch.stack(weighed(one.correct for one in found)).sum(0),
        (torch.stack(images).sum(0), torch.stack(texts, dim=1), *(torch.stack(one).sum(0) for one in rest)),
    )


class _MeanWithGradient(torch.autograd.Function):
    """The mean of losses `[B]` of which the gradients with respect to features are known.

    The loop weighs a piece's loss by rows * processes / all rows, and gradients are averaged over processes.
    So each feature's known gradient, of the sum over *all* rows, is to be divided by this piece's rows: what
    remains of the loop's weights is 1 / all rows, the gradient of the mean over the step.
    """

    @staticmethod
    def forward(ctx: Any, losses: Tensor, *features_and_gradients: Tensor) -> Tensor:
        ctx.save_for_backward(*features_and_gradients[len(features_and_gradients) // 2 :])
        return losses.sum() / max(1, len(losses))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        scale = gradient / max(1, len(gradients[0]))
        return None, *(known * scale for known in gradients), *(None for _ in gradients)


def unit(features: Tensor) -> Tensor:
    """Features of length one, in float32 at least."""
    return F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)
