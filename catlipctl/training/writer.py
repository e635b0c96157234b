"""The writer process of a run's process, and the thread that copies for it and waits for its answers."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from json import loads
from pathlib import Path

import torch
from torch import Tensor

from catlipctl.checkpoints.writer import Part
from catlipctl.checkpoints.writing import Content
from catlipctl.errors import CatlipctlError
from catlipctl.signals import withheld
from catlipctl.training import snapshot
from catlipctl.training.snapshot import Layout, Memory, Save

_PROGRAM = """import sys
sys.path[:] = {path!r}
from catlipctl.checkpoints.writer import main
main({memory}, {parent})
"""


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
        for event in (self.last.copied, self.last.handed, self.last.done):
            event.set()

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
                    snapshot.copy(tensor, memory, begin)
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
                snapshot.copy(tensor, memory, begin)
            save.copied.set()
            for text, begin in layout.fixed:
                memory[begin : begin + len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
            texts = {name: file() for name, file in content.items() if not isinstance(file, Mapping)}
            if save.event is not None:
                save.event.synchronize()
            save.error = self._answer(save, replace(part, files=layout.files, texts=texts))
        except Exception as error:
            save.error = CatlipctlError(f"cannot save {part.directory}: {type(error).__name__}: {error}")
        finally:
            save.copied.set()
            save.handed.set()
            save.seconds = time.perf_counter() - save.begun
            save.done.set()
        if save.error is not None:
            self._failed(save.error)

    def _answer(self, save: Save, part: Part) -> CatlipctlError | None:
        """Hand a part to the process; how it ended."""
        self.start()
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(part.line())
            self._process.stdin.flush()
            save.handed.set()
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
        # Said before the process has its own part, it would be taken for a word about an earlier save.
        self.last.handed.wait()
        if not self.last.done.is_set() and self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
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
                # Closing it is not enough: a loader's workers that were forked meanwhile hold it open.
                self._process.stdin.write("\n")
                self._process.stdin.close()
            self._process.wait()
        self._memory.close()
