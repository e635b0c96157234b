"""Results computed ahead in worker processes: torch's loader, with plain errors."""

import contextlib
import multiprocessing.connection
import os
import pickle
import signal
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from catlipctl import signals
from catlipctl.errors import CatlipctlError, OutOfMemory

Key = TypeVar("Key")
Value = TypeVar("Value")
Raised = TypeVar("Raised", bound=BaseException)

LEAST_SHARED = 2**20
"""Bytes: less goes faster through the pipe than as a file that is handed over."""
AHEAD = 4
"""Results that each worker is ahead of who takes them, at most."""


def ahead(make: Callable[[Key], Value], keys: Iterable[Key], *, workers: int = 0) -> Iterator[Value]:
    """`make(key)` for each key, in order; `AHEAD` results ahead in each of `workers` processes, or here if 0.

    keys may be endless. An error that a person can mend (ours, the system's, no memory) is raised here as it
    was raised there; OutOfMemory where a worker was killed, or shared memory is full.
    """
    with warnings.catch_warnings():
        # torch warns of more workers than cores, by lines of its own source; the dry run says it.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader: DataLoader[Value | Exception] = DataLoader(
            _Made(make),
            batch_size=None,
            sampler=keys,
            num_workers=workers,
            prefetch_factor=AHEAD if workers else None,
            worker_init_fn=_begin_worker,
            # Its own: torch would otherwise draw the workers' seed from the run's generator.
            generator=torch.Generator(),
        )
        with _deaths_untold(), signals.withheld():
            values = iter(loader)
    if workers:
        _end_together(values)
    while True:
        try:
            value = next(values)
        except StopIteration:
            return
        except (RuntimeError, EOFError, OSError) as error:
            raise (_lost_worker(error, values) if workers else None) or error from error
        if isinstance(value, Exception):
            raise value
        yield value


def in_thread(items: Iterator[Value]) -> Iterator[Value]:
    """The items, each made in a thread while the one before is being used."""
    end = object()
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]


def shared_bytes(*shape: int) -> Tensor:
    """Uninitialised uint8 of a shape; large ones go to another process uncopied, if this is a worker.

    Raises OutOfMemory where shared memory is full. (Later, as torch hands a result over, nobody would hear
    of it, and the taker would wait for ever.)
    """
    result = torch.empty(shape, dtype=torch.uint8)
    if get_worker_info() is None or result.nbytes < LEAST_SHARED:
        return result
    try:
        return result.share_memory_()
    except RuntimeError as error:
        raise _shared_memory_full() from error


@contextlib.contextmanager
def _deaths_untold() -> Iterator[None]:
    """Take back torch's handler of SIGCHLD, which raises wherever the main thread is as a worker dies.

    In the midst of a step that is neither told as what it is, nor is the state whole. Who takes the next
    result hears of it within seconds.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD) or signal.SIG_DFL
    yield
    signal.signal(signal.SIGCHLD, before)


def _end_together(values: Any) -> None:
    """Once a worker has died, end the others too, so that who waits for a result hears of it.

    One that is killed while it writes a result leaves half of it in the pipe that all share, and the lock on
    that pipe. The reader would wait for the other half for ever, as long as anybody could write it: another
    worker, or this process itself.
    """
    values._worker_result_queue._writer.close()
    # Not held by the thread: its workers end when nobody holds it any more.
    held, living = weakref.ref(values), {worker.sentinel: worker.pid for worker in values._workers}

    def watch() -> None:
        dead = multiprocessing.connection.wait(list(living))
        found = held()
        if found is None or found._shutdown:
            return
        for pid in [pid for sentinel, pid in living.items() if sentinel not in dead]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _lost_worker(error: Exception, values: Any) -> OutOfMemory | None:
    """What it means that a worker is gone. torch tells by text alone, and not why; or the pipe has ended."""
    text = str(error) or "its results end"
    if isinstance(error, RuntimeError) and not text.startswith("DataLoader worker"):
        return None
    if any(worker.exitcode == -signal.SIGBUS for worker in values._workers):
        return _shared_memory_full()
    return OutOfMemory(
        f"a loader's worker process was killed: {text.splitlines()[0]}",
        "if it was not you, the machine ran out of memory: --set data.workers=N with fewer",
    )


def _shared_memory_full() -> OutOfMemory:
    return OutOfMemory(
        "shared memory is full: a loader's worker could not hand over its images",
        "--set data.workers=N with fewer, or a larger /dev/shm (docker run --shm-size=2g); "
        "catlipctl doctor shows its size",
    )


def portable(error: Raised) -> Raised | OSError:
    """The error itself if it can go to another process, else an OSError that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return OSError(f"{type(error).__name__}: {error}")
    return error


@dataclass(frozen=True)
class _Made(Dataset[Value | Exception], Generic[Key, Value]):
    make: Callable[[Key], Value]

    def __getitem__(self, key: Key) -> Value | Exception:
        try:
            return self.make(key)
        except (CatlipctlError, OSError, MemoryError) as error:
            # As a value: torch would rebuild the exception from the text of its traceback, and lose the hint.
            return portable(error)


def _begin_worker(_: int) -> None:
    signals.serve()
    torch.set_num_threads(1)
