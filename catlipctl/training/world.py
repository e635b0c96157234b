"""The processes that train together: who they are, on which device, and how they agree."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor

from catlipctl.data.workers import portable
from catlipctl.errors import MachineError, Stopped
from catlipctl.settings.training import Precision

T = TypeVar("T")

LONG_WAIT = timedelta(hours=12)
"""Rank 0 may count a vocabulary over a web-sized source while the others wait."""
SHORT_WAIT = timedelta(seconds=90)
"""Between steps the others are a step behind at most: a process that hangs is told of soon."""


class World:
    """One process's view of all of them; a single process is a world of one."""

    def __init__(self, *, cpu: bool = False) -> None:
        # Without a GPU accelerate 1.15 forms no process group unless it is told that the CPU is meant.
        cpu = cpu or not torch.cuda.is_available()
        self._state = PartialState(cpu=cpu, timeout=LONG_WAIT)
        self._longest = LONG_WAIT
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
            except (Exception, Stopped) as error:
                answer[1] = portable(error)
        try:
            value, failure = broadcast_object_list(answer)
        except RuntimeError:
            # The others may be gone for the same reason, a signal to all.
            if answer[1] is None:
                raise
            value, failure = answer
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

    def maximum(self, *values: int) -> list[int]:
        """Of each number the largest that any process has."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, device=self.device)
        torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
        return [int(value) for value in tensor.tolist()]

    def wait_at_most(self, longest: timedelta) -> None:
        """From now on, who waits for another process gives up after `longest`."""
        if self.size > 1 and longest != self._longest:
            self._longest = longest
            distributed = torch.distributed
            # Public from torch 2.15 on.
            change = getattr(distributed, "set_timeout", None) or distributed.distributed_c10d._set_pg_timeout
            change(longest, distributed.group.WORLD)

    def precision(self, wanted: Precision) -> torch.dtype:
        """The type of the forward pass: `auto` is bfloat16 on GPUs that compute in it, else float32.

        `tf32` is float32 to autocast (`tuning.float32_products` does the rest). MachineError where the device
        computes not in what is asked for.
        """
        has = self.device.type == "cpu" or (
            self.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        )
        if wanted == "bfloat16" and not has:
            raise MachineError(f"{self.device} computes no bfloat16", "--set precision=float32")
        if wanted == "tf32" and not (self.device.type == "cuda" and torch.cuda.is_tf32_supported()):
            raise MachineError(f"{self.device} computes no TF32", "--set precision=float32")
        low = wanted == "bfloat16" or (wanted == "auto" and has and self.device.type == "cuda")
        return torch.bfloat16 if low else torch.float32

    def gather(self, values: list[T]) -> list[T]:
        """The processes' lists, one after the other."""
        return gather_object(values) if self.size > 1 else values

    def wait(self) -> None:
        """Go on when all have come here."""
        self._state.wait_for_everyone()

    def close(self) -> None:
        """Leave the process group, in peace: all have come to their end."""
        if self.size > 1:
            self.wait()
            self._state.destroy_process_group()
