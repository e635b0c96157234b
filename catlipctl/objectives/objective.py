"""The interface of all objectives: a module whose forward takes a batch and returns the loss."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from catlipctl.data.batch import Batch


class Objective(nn.Module, ABC):
    """Holds all that learns; it is what is wrapped for distribution and saved. It neither steps nor logs.

    model: the image tower with its head, the part that a checkpoint hands on.
    needs_captions: whether `Batch.captions` must be filled.
    """

    needs_captions: ClassVar[bool] = False

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def begin_step(self, micro_batches: Sequence[Batch]) -> None:
        """See this rank's share of a whole global step before its first forward; most objectives need not.

        The pieces are on the CPU: each comes to the device only for its own forward.
        """

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """The loss, a scalar: the mean over the batch's images."""
