"""Results computed ahead in worker processes: torch's loader, with plain errors and quiet signals."""

import contextlib
import os
import pickle
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from catlipctl.errors import CatlipctlError

Key = TypeVar("Key")
Value = TypeVar("Value")


def ahead(
    make: Callable[[Key], Value], keys: Iterable[Key], *, workers: int = 0, pin: bool = False
) -> Iterator[Value]:
    """`make(key)` for each key, in order; two results ahead in each of `workers` processes, or here if 0.

    keys may be endless. An error that a person can mend (ours, the system's, no memory) is raised here as it
    was raised there. pin: results land in page-locked memory.
    """
    loader: DataLoader[Value | Exception] = DataLoader(
        _Made(make),
        batch_size=None,
        sampler=keys,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_begin_worker,
        # Its own: torch would otherwise draw the workers' seed from the run's generator.
        generator=torch.Generator(),
    )
    for value in loader:
        if isinstance(value, Exception):
            raise value
        yield value


def portable(error: Exception) -> Exception:
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
    torch.set_num_threads(1)
    # Only the main process answers Ctrl-C and the signals that `timeout` and schedulers send to a group: it
    # still needs its workers to finish the step and save. SIGTERM by the main process itself must work.
    with contextlib.suppress(OSError, AttributeError):
        os.setpgrp()
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
