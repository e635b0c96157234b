"""Does the data keep up with the devices: enough shards, the loader's speed here, and what to change."""

import math
import time
from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, computed_field

from catlipctl.data.batch import Step, Targets
from catlipctl.data.loader import Loader, Positions
from catlipctl.data.order import LocalOrder, Order
from catlipctl.data.sample import Sample, Source
from catlipctl.data.transform import TrainTransform
from catlipctl.progress import SILENT, Progress
from catlipctl.results import cores
from catlipctl.settings.data import Augmentation, Decode

WARNED_WAIT = 0.1
"""The share of a step's time that may go into waiting for data before it is told."""
_CHUNK = 16
"""Images of a timed step: few, so that large ones take no longer than was asked for."""


def advice(share: float, workers: int, cores: int) -> str | None:
    """What to change where training waits for data; None up to 10 %.

    share: of the slowest rank's time, 0 to 1. workers: the loader's of each rank. cores: for each rank.
    """
    if share <= WARNED_WAIT:
        return None
    waits = f"training waits for data {100 * share:.0f} % of the time"
    # The devices would take 1 / (1 - share) of what the loader gives now.
    wanted = min(cores, math.ceil(max(workers, 1) / max(1 - share, 1e-3)))
    if workers < cores and wanted > workers:
        return f"{waits} with {_counted(workers, 'worker')} on {_counted(cores, 'core')} a rank: " + (
            f"--set data.workers={wanted}"
        )
    return (
        f"{waits}, and {_counted(workers, 'worker')} a rank keep {_counted(cores, 'core')} busy: "
        "--set data.decode=fast if it is exact, store the images smaller, or take more cores a GPU; "
        "where the disk or the network is slow, a smaller data.window or data on a local disk"
    )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


class Sharing(BaseModel):
    """How the shards of a source go round. ranks: processes of the run. workers: loader workers of each.

    window: shards whose samples are mixed, None where all are. enough: nothing speaks against it.
    said: how they go round, or what speaks against it.
    """

    shards: int
    ranks: int
    workers: int
    window: int | None
    enough: bool
    said: str

    @classmethod
    def of(cls, shards: int, ranks: int, workers: int, window: int | None) -> "Sharing":
        """What is to be expected of so many shards; 0: each image is a file of its own."""
        readers = ranks * workers
        enough = not shards or (readers <= shards and (window or 0) <= shards)
        each = f"{shards / readers:.3g} for each of {_counted(readers, 'worker')}"
        if not shards:
            said = "each image is a file of its own"
        elif window is not None and window > shards:
            said = f"a window of {window:,} holds them all: the first step of a stream waits for each of them"
        elif not enough:
            said = (
                f"{each}: several read the same one. No sample is lost or read twice, but a disk or server "
                "has fewer files to read at once"
            )
        else:
            said = each
        return cls(shards=shards, ranks=ranks, workers=workers, window=window, enough=enough, said=said)


class Forecast(BaseModel):
    """What the loader gives on this machine, timed with the real reads, decoding and crops of training.

    size: pixels a side. gpus: ranks of this machine. workers: loader workers of each; timed: how many were
    started, at most one a core. images, seconds: what was timed.
    images_per_second: of all of them; per_gpu: that a device may take in its steps.
    """

    size: int
    gpus: int
    workers: int
    cores: int
    timed: int
    images: int
    seconds: float
    images_per_second: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def per_worker(self) -> float:
        """Images a second of each worker that was timed."""
        return self.images_per_second / self.timed

    @computed_field  # type: ignore[prop-decorator]
    @property
    def per_gpu(self) -> float:
        """Images a second that a step of each GPU may take."""
        return self.images_per_second / self.gpus


def forecast(
    source: Source,
    *,
    size: int = 224,
    gpus: int = 1,
    workers: int,
    window: int | None = None,
    seconds: float = 2.0,
    progress: Progress = SILENT,
) -> Forecast:
    """Time the loader on a source for some seconds, after its workers have started.

    Raises:
        DataError: over a hundred images in a row cannot be read. ReadFailed: the source cannot be read.
    """
    order = Order(len(source), 0) if window is None else LocalOrder(source.shard_sizes, 0, window)
    timed = max(1, min(gpus * workers, cores()))
    images = 0
    with progress.task("timing the loader", unit="images") as task:
        chunks = training_crops(source, order, size, _CHUNK, timed)
        for _ in range(timed):
            next(chunks)
        start = time.perf_counter()
        while (taken := time.perf_counter() - start) < seconds or not images:
            images += len(next(chunks))
            task.advance(_CHUNK)
    return Forecast(
        size=size,
        gpus=gpus,
        workers=workers,
        cores=cores(),
        timed=timed,
        images=images,
        seconds=taken,
        images_per_second=images / max(taken, 1e-9),
    )


def training_crops(
    source: Source, order: Positions, size: int, images: int, workers: int, decode: Decode = "fast"
) -> Iterator[torch.Tensor]:
    """Endless steps of so many crops, uint8 `[B, 3, size, size]`, by the loader that trains."""
    transform = TrainTransform(Augmentation(), 0, decode=decode)
    load = Loader(source, order, transform, _no_targets, workers)
    steps = ((Step(n, size, images, n * images), [range(images)]) for n in count())
    return (batches[0].images for batches in load(steps))


def _no_targets(samples: Sequence[Sample], positions: NDArray[np.int64]) -> Targets:  # noqa: ARG001
    return {}
