"""Source, order, transform and encoder to batches: this rank's share of each global batch.

Batch and picture are functions of the position alone, so they are the same for any number of workers, after a
resume, and, laid end to end over the ranks, for any number of processes.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray

from catlipctl.data.batch import Batch
from catlipctl.data.decode import UnreadableImage, decode
from catlipctl.data.order import Order
from catlipctl.data.sample import Sample, Source
from catlipctl.data.transform import Transform
from catlipctl.data.workers import ahead
from catlipctl.errors import DataError

Encoder = Callable[[tuple[str, ...]], list[int]]

MOST_UNREADABLE = 100
"""So many unreadable images in a row are no accident."""


@dataclass(frozen=True, kw_only=True)
class _Share:
    """Makes one rank's share of the global batch that starts at a position."""

    source: Source
    order: Order
    transform: Transform
    encoder: Encoder
    global_batch: int
    rank: int
    world: int
    stop: int | None
    with_captions: bool

    def __call__(self, position: int) -> Batch:
        size = self.global_batch if self.stop is None else min(self.global_batch, self.stop - position)
        # Contiguous shares whose sizes differ by at most a row.
        first, last = (size * rank // self.world for rank in (self.rank, self.rank + 1))
        side = self.transform.preprocessing.size
        pixels = np.empty((last - first, side, side, 3), np.uint8)
        samples = self.order.take(position + first, last - first)
        captions, rows, classes = [], [], []
        replaced = unlabelled = 0
        for row, wanted in enumerate(samples.tolist()):
            sample, index, pixels[row] = self._read(wanted, position + first + row)
            samples[row] = index
            replaced += index != wanted
            labels = self.encoder(sample.captions)
            unlabelled += not labels
            rows += [row] * len(labels)
            classes += labels
            captions.append(sample.captions)
        return Batch(
            images=self.transform.normalise(pixels),
            rows=torch.tensor(rows, dtype=torch.int64),
            classes=torch.tensor(classes, dtype=torch.int64),
            position=position + first,
            samples=torch.from_numpy(samples),
            captions=tuple(captions) if self.with_captions else None,
            replaced=replaced,
            unlabelled=unlabelled,
        )

    def _read(self, wanted: int, position: int) -> tuple[Sample, int, NDArray[np.uint8]]:
        """The sample with its pixels, or the next one of the source whose image can be read."""
        for step in range(MOST_UNREADABLE + 1):
            index = (wanted + step) % len(self.source)
            sample = self.source[index]
            if sample.image is None:
                continue
            try:
                return sample, index, self.transform.pixels(decode(sample.image), position)
            except UnreadableImage:
                continue
        raise DataError(
            f"{self.source.name}: over {MOST_UNREADABLE} unreadable images in a row from sample {wanted}",
            f"look at the source with `catlipctl data inspect {self.source.name}`",
        )


class Loader:
    """Iterating gives this rank's `Batch` of each global batch, position `start` to `stop` (None: endless).

    encoder: captions to sorted unique class ids. workers: processes that work ahead; 0 works in the caller's.
    pin: batches in page-locked memory. The last global batch before `stop` may be smaller, and a rank's share
    of it empty. An unreadable image is replaced by the next readable sample and counted in `Batch.replaced`;
    more than 100 in a row raise DataError.
    """

    def __init__(
        self,
        source: Source,
        order: Order,
        transform: Transform,
        encoder: Encoder,
        *,
        global_batch: int,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        start: int = 0,
        stop: int | None = None,
        with_captions: bool = False,
        pin: bool = False,
    ) -> None:
        self._share = _Share(
            source=source,
            order=order,
            transform=transform,
            encoder=encoder,
            global_batch=global_batch,
            rank=rank,
            world=world,
            stop=stop,
            with_captions=with_captions,
        )
        self._start = start
        self._workers = workers
        self._pin = pin

    def __iter__(self) -> Iterator[Batch]:
        size, stop = self._share.global_batch, self._share.stop
        positions: Iterable[int]
        positions = count(self._start, size) if stop is None else range(self._start, stop, size)
        return ahead(self._share, positions, workers=self._workers, pin=self._pin)
