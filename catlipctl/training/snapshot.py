"""A copy of what is to be saved, in memory that a writer process shares, made while the next step begins.

Weights, moments and averages change only in the optimiser's step, so that a copy may go on until then; what a
forward pass changes (buffers) is cloned first.
"""

import ctypes
import mmap
import os
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from catlipctl.checkpoints.storing import header
from catlipctl.checkpoints.writing import Content, kept
from catlipctl.errors import CatlipctlError

ALIGNED = 64
"""Bytes at whose multiples tensors begin in the shared memory."""


class Memory:
    """Bytes that this process and its writer share, used again by each save. folder: on a disk, for systems
    that have no files in memory alone.
    """

    def __init__(self, folder: Path) -> None:
        if hasattr(os, "memfd_create"):  # not in /dev/shm, which has 64 MB in a container
            self.descriptor = os.memfd_create("catlipctl-snapshot")
        else:
            with tempfile.TemporaryFile(dir=folder) as file:
                self.descriptor = os.dup(file.fileno())
        self._bytes = torch.empty(0, dtype=torch.uint8)
        self._pinned = False

    def take(self, size: int, *, pinned: bool) -> Tensor:
        """At least so many bytes: uint8. Where they cannot be pinned for the GPU, copies wait."""
        if size > len(self._bytes):
            self._unpin()
            os.ftruncate(self.descriptor, size)
            self._bytes = torch.frombuffer(mmap.mmap(self.descriptor, size), dtype=torch.uint8)
        if pinned and not self._pinned:
            code = torch.cuda.cudart().cudaHostRegister(self._bytes.data_ptr(), self._bytes.nbytes, 0)
            self._pinned = int(code) == 0
        return self._bytes

    def _unpin(self) -> None:
        if self._pinned:
            torch.cuda.cudart().cudaHostUnregister(self._bytes.data_ptr())
        self._pinned = False

    def close(self) -> None:
        """Give it back."""
        self._unpin()
        self._bytes = torch.empty(0, dtype=torch.uint8)
        os.close(self.descriptor)


class Layout:
    """Where the bytes of a checkpoint's files lie in shared memory: those that several files hold, once.

    fixed: what stands there before any tensor is copied. copies: tensors and their first bytes.
    """

    def __init__(self, content: Content, buffers: Iterable[Tensor]) -> None:
        changing = {value.untyped_storage().data_ptr() for value in buffers}
        self.files: dict[str, list[list[int]]] = {}
        self.fixed: list[tuple[bytes, int]] = []
        self.copies: list[tuple[Tensor, int]] = []
        self.size = 0
        places: dict[object, int] = {}
        for name, file in content.items():
            if not isinstance(file, Mapping):
                continue
            first, order = header({key: kept(value) for key, value in file.items()})
            self.fixed.append((first, self.size))
            stretches = [self._stretch(len(first))]
            for key in order:
                value = file[key].detach()
                is_ = (value.device, value.data_ptr(), value.dtype, value.shape, value.stride())
                if value.numel() and is_ in places:
                    begin = places[is_]
                    stretches.append([begin, begin + value.nbytes])
                    continue
                places[is_] = self.size
                changes = value.untyped_storage().data_ptr() in changing
                self.copies.append((value.clone() if changes else value, self.size))
                stretches.append(self._stretch(value.nbytes))
            self.files[name] = stretches

    def _stretch(self, size: int) -> list[int]:
        begin = self.size
        self.size += size + -size % ALIGNED
        return [begin, begin + size]


class Save:
    """One save under way: first a copy is made, then a writer turns it into files.

    copied: set when the host's tensors may change again. handed: set when the writer has been told. done: set
    when it has answered. error: why there is no checkpoint. waited: seconds for which steps waited for the
    copy. seconds: from its beginning until it was done.
    """

    def __init__(self) -> None:
        self.waited = self.seconds = 0.0
        self.begun = time.perf_counter()
        self.copied, self.handed, self.done = threading.Event(), threading.Event(), threading.Event()
        self.error: CatlipctlError | None = None
        self.event: torch.cuda.Event | None = None

    def wait_to_change(self) -> None:
        """Return when what was copied may change: on the host now, on a GPU once its stream comes there."""
        begun = time.perf_counter()
        self.copied.wait()
        self.waited += time.perf_counter() - begun
        if self.event is not None:
            torch.cuda.current_stream().wait_event(self.event)


def copy(tensor: Tensor, memory: Tensor, begin: int) -> None:
    """Copy a tensor's numbers into shared memory from its byte `begin` on; from a GPU it is only begun."""
    if not tensor.nbytes:
        return
    target = memory[begin : begin + tensor.nbytes]
    if tensor.device.type == "cpu" and tensor.is_contiguous():
        # In one thread: torch would take all of the step's.
        ctypes.memmove(target.data_ptr(), tensor.data_ptr(), tensor.nbytes)
    else:
        target.view(tensor.dtype).view(tensor.shape).copy_(tensor, non_blocking=tensor.is_cuda)
