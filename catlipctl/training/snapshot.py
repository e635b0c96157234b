"""A copy of what is to be saved, in memory that a writer process shares, made while the next step begins.

Weights, moments and averages change only in the optimiser's step, so that a copy may go on until then; what a
forward pass changes (buffers) is cloned first.
"""

import ctypes
import mmap
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from json import loads
from pathlib import Path

import torch
from torch import Tensor

from catlipctl.checkpoints.storing import header
from catlipctl.checkpoints.writer import Part
from catlipctl.checkpoints.writing import Content, kept
from catlipctl.errors import CatlipctlError, MachineError
from catlipctl.signals import withheld

ALIGNED = 64
"""Bytes at whose multiples tensors begin in the shared memory."""
_PROGRAM = """import sys
sys.path[:] = {path!r}
from catlipctl.checkpoints.writer import main
main({memory}, {parent})
"""


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
        """At least so many bytes: uint8. MachineError where no memory can be pinned for the GPU."""
        if size > len(self._bytes):
            self._unpin()
            os.ftruncate(self.descriptor, size)
            self._bytes = torch.frombuffer(mmap.mmap(self.descriptor, size), dtype=torch.uint8)
        if pinned and not self._pinned:
            code = torch.cuda.cudart().cudaHostRegister(self._bytes.data_ptr(), self._bytes.nbytes, 0)
            if int(code) != 0:
                raise MachineError(
                    f"{size:,} bytes of memory cannot be pinned for the GPU (CUDA error {int(code)})",
                    "each save needs a copy of the state in this machine's memory: look at `ulimit -l`",
                )
            self._pinned = True
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

    copied: set when the host's tensors may change again. done: set when the writer has answered. error: why
    there is no checkpoint.
    """

    def __init__(self) -> None:
        self.copied, self.done = threading.Event(), threading.Event()
        self.error: CatlipctlError | None = None
        self.event: torch.cuda.Event | None = None

    def wait_to_change(self) -> None:
        """Return when what was copied may change: on the host now, on a GPU once its stream comes there."""
        self.copied.wait()
        if self.event is not None:
            torch.cuda.current_stream().wait_event(self.event)


class Writer:
    """A writer process beside this one, and the thread that copies for it and waits for its answers.

    folder: of the run. tell: hears what is worth knowing. failed: hears the error of each save that fails.
    """

    def __init__(
        self,
        folder: Path,
        tell: Callable[[str], None] = lambda _: None,
        failed: Callable[[CatlipctlError], None] = lambda _: None,
    ) -> None:
        self._tell, self._failed = tell, failed
        self._memory = Memory(folder)
        self._process: subprocess.Popen[str] | None = None
        self._stream: torch.cuda.Stream | None = None
        self.last = Save()
        self.last.copied.set()
        self.last.done.set()

    def start(self) -> None:
        """Start the process if there is none; it is ready long before it is needed."""
        if self._process is not None and self._process.poll() is None:
            return
        program = _PROGRAM.format(path=sys.path, memory=self._memory.descriptor, parent=os.getpid())
        with withheld():
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=[self._memory.descriptor],
            )

    def save(self, part: Part, content: Content, buffers: Iterable[Tensor]) -> None:
        """Begin to write `content` as a part of a checkpoint; the one before it is done. Returns at once."""
        layout = Layout(content, buffers)
        device = next((tensor.device for tensor, _ in layout.copies if tensor.is_cuda), None)
        memory = self._memory.take(layout.size, pinned=device is not None)
        save = self.last = Save()
        here = []
        with self._beside(device, save):
            for tensor, begin in layout.copies:
                if tensor.device.type == "cpu":
                    here.append((tensor, begin))
                else:
                    _copy(tensor, memory, begin)
        arguments = save, part, content, layout, here, memory
        threading.Thread(target=self._write, args=arguments, daemon=True).start()

    @contextmanager
    def _beside(self, device: torch.device | None, save: Save) -> Iterator[None]:
        """What is copied from a GPU inside runs beside the kernels of the next step."""
        if device is None:
            yield
            return
        if self._stream is None:
            self._stream = torch.cuda.Stream(device)
        self._stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(self._stream):
            yield
            save.event = self._stream.record_event()

    @torch.no_grad()
    def _write(
        self,
        save: Save,
        part: Part,
        content: Content,
        layout: Layout,
        here: list[tuple[Tensor, int]],
        memory: Tensor,
    ) -> None:
        try:
            for tensor, begin in here:
                _copy(tensor, memory, begin)
            save.copied.set()
            for text, begin in layout.fixed:
                memory[begin : begin + len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
            texts = {name: file() for name, file in content.items() if not isinstance(file, Mapping)}
            if save.event is not None:
                save.event.synchronize()
            save.error = self._answer(replace(part, files=layout.files, texts=texts))
        except Exception as error:
            save.error = CatlipctlError(f"cannot save {part.directory}: {type(error).__name__}: {error}")
        finally:
            save.copied.set()
            save.done.set()
        if save.error is not None:
            self._failed(save.error)

    def _answer(self, part: Part) -> CatlipctlError | None:
        """Hand a part to the process; how it ended."""
        self.start()
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(part.line())
            self._process.stdin.flush()
            for line in self._process.stdout:
                answer = loads(line)
                if "note" not in answer:
                    return CatlipctlError(*answer["error"]) if answer["error"] else None
                self._tell(answer["note"])
        except OSError:
            pass
        return CatlipctlError(
            f"the process that writes {part.directory} was killed",
            "if it was not you, the machine ran out of memory",
        )

    def abandon(self, reason: str) -> None:
        """Wait no longer for the parts of other processes."""
        if not self.last.done.is_set() and self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(reason.replace("\n", " ") + "\n")
            self._process.stdin.flush()

    def close(self, longest: float | None = None) -> None:
        """End the process, once the save under way is done or `longest` seconds are over."""
        in_time = self.last.done.wait(longest)
        if self._process is not None:
            if not in_time:
                self._failed = lambda _: None
                self._process.kill()
            self.last.done.wait()
            assert self._process.stdin is not None
            with suppress(OSError):
                self._process.stdin.close()
            self._process.wait()
        self._memory.close()


def _copy(tensor: Tensor, memory: Tensor, begin: int) -> None:
    if not tensor.nbytes:
        return
    target = memory[begin : begin + tensor.nbytes]
    if tensor.device.type == "cpu" and tensor.is_contiguous():
        # In one thread: torch would take all of the step's.
        ctypes.memmove(target.data_ptr(), tensor.data_ptr(), tensor.nbytes)
    else:
        target.view(tensor.dtype).view(tensor.shape).copy_(tensor, non_blocking=tensor.is_cuda)
