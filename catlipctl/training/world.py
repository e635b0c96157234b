"""The processes that train together: who they are, on which device, and how they agree."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from catlipctl.data.workers import portable

T = TypeVar("T")

LONGEST_WAIT = timedelta(hours=12)
"""Rank 0 may count a vocabulary over a web-sized source while the others wait."""


class World:
    """One process's view of all of them; a single process is a world of one."""

    def __init__(self, *, cpu: bool = False) -> None:
        # Without a GPU accelerate 1.15 forms no process group unless it is told that the CPU is meant.
        cpu = cpu or not torch.cuda.is_available()
        self._state = PartialState(cpu=cpu, timeout=LONGEST_WAIT)
        self.device: torch.device = self._state.device
        self.rank: int = self._state.process_index
        self.size: int = self._state.num_processes

    @property
    def is_main(self) -> bool:
        """Is this the process that writes and talks?"""
        return self.rank == 0

    def on_main(self, function: Callable[[], T]) -> T:
        """What `function` returns on rank 0, everywhere; its error too is raised everywhere."""
        if self.size == 1:
            return function()
        answer: list[Any] = [None, None]
        if self.is_main:
            try:
                answer[0] = function()
            except Exception as error:
                answer[1] = portable(error)
        value, failure = broadcast_object_list(answer)
        if failure is not None:
            raise failure
        return value

    def main_first(self, function: Callable[[], T]) -> T:
        """What `function` returns in each process, called on rank 0 before the others (caches fill once).

        Its error on rank 0 is raised everywhere.
        """
        found: list[T] = []
        self.on_main(lambda: found.append(function()))
        return found[0] if self.is_main else function()

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.size > 1:
            torch.distributed.all_reduce(value)
        return value

    def largest(self, value: int) -> int:
        """The largest of the processes' numbers."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, device=self.device)
        torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
        return int(tensor)

    def gather(self, values: list[T]) -> list[T]:
        """The processes' lists, one after the other."""
        return gather_object(values) if self.size > 1 else values

    def wait(self) -> None:
        """Go on when all have come here."""
        self._state.wait_for_everyone()

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over all processes at each backward pass."""
        return module if self.size == 1 else DistributedDataParallel(module)

    def close(self) -> None:
        """Leave the process group, in peace: all have come to their end."""
        if self.size > 1:
            self.wait()
            self._state.destroy_process_group()


def local_gradients(module: nn.Module, *, local: bool) -> AbstractContextManager[None]:
    """Inside, a backward pass adds to this process's gradients only, if `local`."""
    return module.no_sync() if local and isinstance(module, DistributedDataParallel) else nullcontext()
