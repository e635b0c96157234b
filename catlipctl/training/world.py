"""The processes that train together: who they are, on which device, and how they agree."""

import math
import time
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
STREAM_WAIT = timedelta(minutes=15)
"""Where data is a stream: a shard may be late, and who waits for one does not hang."""
LONGER = timedelta(seconds=30)
"""What collectives wait beyond that: who hangs is found out first, and told by its name."""


class World:
    """One process's view of all of them; a single process is a world of one."""

    def __init__(self, *, cpu: bool = False) -> None:
        # Without a GPU accelerate 1.15 forms no process group unless it is told that the CPU is meant.
        cpu = cpu or not torch.cuda.is_available()
        self._state = PartialState(cpu=cpu, timeout=LONG_WAIT + LONGER)
        self._longest, self._due = LONG_WAIT, math.inf
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
            failure.rank = 0
            raise failure
        return value

    def node_first(self, function: Callable[[], T]) -> T:
        """What `function` returns in each process, called in one of each node before its others.

        So a cache fills once a node.
        """
        first = self._state.local_process_index == 0
        found = [function()] if first else []
        # Errors are not told here, when all nodes are done, but at once: by `Peers`.
        self.wait()
        return found[0] if found else function()

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
        """From now on, who waits for another process gives up after `longest`: in it all must call again."""
        self._due = time.monotonic() + longest.total_seconds()
        if self.size > 1 and longest != self._longest:
            self._longest = longest
            distributed = torch.distributed
            # Public from torch 2.15 on.
            change = getattr(distributed, "set_timeout", None) or distributed.distributed_c10d._set_pg_timeout
            change(longest + LONGER, distributed.group.WORLD)

    @property
    def patience(self) -> float:
        """Seconds that the others wait for a process now."""
        return self._longest.total_seconds()

    @property
    def overdue(self) -> bool:
        """Is this process late for its next call of `wait_at_most`?"""
        return time.monotonic() > self._due

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

    def stack(self, value: Tensor) -> Tensor:
        """A tensor of every process, of the same shape in each: `[W, ...]`."""
        if self.size == 1:
            return value[None]
        # End to end: gloo takes no other form.
        joined = value.new_empty(self.size * value.shape[0], *value.shape[1:])
        torch.distributed.all_gather_into_tensor(joined, value.contiguous())
        return joined.view(self.size, *value.shape)

    def wait(self) -> None:
        """Go on when all have come here."""
        self._state.wait_for_everyone()

    def close(self) -> None:
        """Leave the process group, in peace: all have come to their end."""
        if self.size > 1:
            self.wait()
            self._state.destroy_process_group()
