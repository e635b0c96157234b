"""The interface of all objectives: a module whose forward takes a batch and returns the loss."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from catlipctl.data.batch import Batch, Step, Targets
from catlipctl.data.sample import Sample
from catlipctl.models import TokenDrop, Tower
from catlipctl.models.range_augment import RangeAugment

Encode = Callable[[Sample], list[int]]
"""A sample's class ids, each once, ascending. Picklable into loader workers."""


class Collate(Protocol):
    """Makes targets of samples, in a loader's worker. Picklable; a function of its arguments alone."""

    def __call__(self, samples: Sequence[Sample], positions: NDArray[np.int64]) -> Targets: ...


@dataclass(frozen=True)
class LabelCollate:
    """Class ids, `classes [P]`, one sample's after another's; and how many each sample has, `counts [B]`.

    captions: how much the first caption weighs, the second, ...; then `weights [P]`, float32, say which part
    of a sample's captions has the class, by their weights.
    """

    encode: Encode
    captions: tuple[float, ...] = ()

    def __call__(self, samples: Sequence[Sample], positions: NDArray[np.int64]) -> Targets:  # noqa: ARG002
        ids = [self._weighed(sample) for sample in samples]
        targets = {
            "classes": torch.tensor([i for one in ids for i in one], dtype=torch.int64),
            "counts": torch.tensor([len(one) for one in ids], dtype=torch.int64),
        }
        if self.captions:
            targets["weights"] = torch.tensor([w for one in ids for w in one.values()], dtype=torch.float32)
        return targets

    def _weighed(self, sample: Sample) -> dict[int, float]:
        """The sample's class ids, ascending, and how much each weighs."""
        weights = self.captions[: len(sample.captions)]
        if not any(weights):
            return dict.fromkeys(self.encode(sample), 1.0)
        found: dict[int, float] = {}
        for caption, weight in zip(sample.captions, weights, strict=False):
            for i in self.encode(sample._replace(captions=(caption,))) if weight else ():
                found[i] = found.get(i, 0.0) + weight / sum(weights)
        return dict(sorted(found.items()))


@dataclass(frozen=True, kw_only=True)
class Context:
    """What an objective is built around.

    tower: the image tower, its head of the size that the objective asked for (`head_size`).
    encode: class ids of a sample; None where the objective needs no classes.
    range_augment: what is done to images in [0, 1] on the device before they are normalised, if anything.
    token_drop: what leaves out patches in the tower, if anything does.
    captions: how much an image's first caption weighs, the second, ..., where all are learned from at once.
    Empty: a text tower has the first, and labels are those of all captions.
    rank, world: this process among those that train together. seed: of the run.
    """

    tower: Tower
    encode: Encode | None = None
    range_augment: RangeAugment | None = None
    token_drop: TokenDrop | None = None
    captions: tuple[float, ...] = ()
    rank: int = 0
    world: int = 1
    seed: int = 0


class Output(NamedTuple):
    """The loss, a scalar: the mean over the batch's images; and parts of it worth telling, by name.

    scores: `[B, V]`, how sure it is of each class; only in eval mode, where the objective learns classes.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    scores: Tensor | None = None


class Objective(nn.Module, ABC):
    """Holds all that learns; it is what is wrapped for distribution and saved. It neither steps nor logs.

    collate: makes the targets of a batch from its samples. model: the tower's module, which a checkpoint
    hands on. undecayed: names of parameters without weight decay, beside those of one dimension.
    outputs: names of layers that are outputs, beside the head.
    counted: rows that count of the batch at work.
    """

    collate: Collate
    undecayed: frozenset[str] = frozenset()
    outputs: frozenset[str] = frozenset()
    counted: int = 0
    exclusive: bool = False
    """Whether a softmax turns the head's outputs to probabilities; else a sigmoid does, class by class."""
    needs_classes: ClassVar[bool] = True
    """Whether it learns a vocabulary's classes, by `Context.encode`."""
    extractor: ClassVar[str] = "corenet"
    """What makes labels of captions where the recipe does not say; of one of sub-words all are classes."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.tower = context.tower
        self.model = context.tower.module
        self.range_augment = context.range_augment
        self.token_drop = context.token_drop

    @classmethod
    @abstractmethod
    def build(cls, settings: Any, context: Context) -> Self:
        """The objective by its recipe's section (None where it has none)."""

    @staticmethod
    def head_size(settings: Any, classes: int | None) -> int:  # noqa: ARG004
        """Outputs that the tower's head must have. classes: those of the vocabulary, where there is one."""
        assert classes is not None
        return classes

    @classmethod
    def parameters_beside(cls, settings: Any, features: int) -> int:  # noqa: ARG003
        """How many numbers learn beside the tower with its head, which is given `features`; none is made."""
        return 0

    @classmethod
    def flops_beside(cls, settings: Any, features: int, captions: int = 1) -> int:  # noqa: ARG003
        """Operations of a pair's forward pass beside the tower's, whose head is given `features`.

        captions: of an image, that are learned from at once.
        """
        return 0

    def stand_ins(self, rows: int) -> Targets:
        """Targets of so many images that are not there, of the shapes and types of real ones: to rehearse."""
        return {
            "classes": torch.zeros(rows, dtype=torch.int64),
            "counts": torch.ones(rows, dtype=torch.int64),
        }

    def prepare(self, step: Step, pieces: Sequence[Batch]) -> None:
        """See this rank's share of a whole step before its first forward; most objectives need not."""

    def pixels(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The batch's images as the tower wants them, float `[B, 3, S, S]`; and losses of augmentation."""
        self.counted = batch.counted
        if self.token_drop is not None and self.training:
            self.token_drop.draw(batch.step, batch.positions, batch.images.device)
        images, losses = self.tower.preprocessing.scaled(batch.images), {}
        if self.range_augment is not None and self.training:
            images, losses["range_augment"] = self.range_augment(images, batch.step, batch.positions)
        return self.tower.preprocessing.standardised(images), losses

    def towers(self) -> list[nn.Module]:
        """What is compiled, and whose blocks may be computed again: the image tower, and any beside it."""
        return [self.model]

    def finished(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Its weights as a checkpoint's tower is to have them. weights: all, by name; or none."""
        return weights

    @abstractmethod
    def forward(self, batch: Batch) -> Output:
        """The loss and its named parts, all scalars on the device.

        In eval mode a batch stands alone: nothing is sent to other processes.
        """


@contextmanager
def unchanged_buffers(module: nn.Module) -> Iterator[None]:
    """Put back what the body does to the module's buffers: running statistics see a step's images once."""
    kept = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
