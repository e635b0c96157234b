"""Source, order, transform and collator to batches on the device: this rank's pieces of each step.

Workers make chunks of at most 64 samples, each a function of its positions alone. So a run's samples are
the same for any number of workers, after a resume, and, laid end to end, for any number of processes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, tee
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from catlipctl.data.batch import Batch, Step, Targets, share
from catlipctl.data.decode import UnreadableImage
from catlipctl.data.order import LocalOrder
from catlipctl.data.sample import Sample, Source
from catlipctl.data.sources.concatenation import inspect_command
from catlipctl.data.sources.storage import count_retries, retries
from catlipctl.data.sources.streams import Ahead, streams
from catlipctl.data.transform import Transform
from catlipctl.data.workers import AHEAD, ahead, in_thread, shared_bytes
from catlipctl.errors import DataError

CHUNK = 64
"""Samples that a worker makes at once, at most."""
CHUNK_BYTES = 12 * 2**20
"""And bytes of pixels: 64 images of 256 px, 40 of 320 px."""

CPU = torch.device("cpu")
MOST_UNREADABLE = 100
"""So many unreadable images in a row are no accident."""

StepPieces = tuple[Step, Sequence[range]]
"""A step, and its rows that this rank takes, piece by piece; an empty piece keeps it in step with others."""


class Positions(Protocol):
    """The samples that a run visits, as `data.order` has them. samples: visited an epoch."""

    @property
    def samples(self) -> int: ...

    def take(self, start: int, count: int) -> NDArray[np.int64]: ...


@dataclass(frozen=True, slots=True)
class Request:
    """A chunk to be made: rows `first` to `first + count - 1` of a step, of which `counted` count."""

    step: Step
    first: int
    count: int
    counted: int


def chunk_rows(size: int) -> int:
    """Images of `size` pixels a side that a worker makes at once."""
    return max(1, min(CHUNK, CHUNK_BYTES // (3 * size * size)))


def shared_memory_bytes(workers: int, size: int) -> int:
    """The most shared memory that a rank's loader holds for images of `size` pixels, whatever the batch.

    Each worker is ahead by `AHEAD` chunks at most; one more is on its way into a batch.
    """
    return (workers * AHEAD + 1) * chunk_rows(size) * 3 * size * size if workers else 0


@dataclass(frozen=True)
class Loader:
    """Makes a rank's batches.

    transform: a picture's bytes, its position and the size wanted, to uint8 `[S, S, 3]`. collate: samples and
    their positions to targets. workers: processes that make chunks; 0 makes them in the caller's.
    An unreadable image is replaced by the next readable sample and counted in `Batch.replaced`; more than 100
    in a row raise DataError.
    """

    source: Source
    order: Positions
    transform: Transform
    collate: Callable[[Sequence[Sample], NDArray[np.int64]], Targets]
    workers: int = 0
    device: torch.device = CPU

    @property
    def streamed(self) -> bool:
        """Are shards fetched as the run goes on?"""
        return isinstance(self.order, LocalOrder) and any(streams(self.source))

    def __call__(self, steps: Iterable[StepPieces]) -> Iterator[list[Batch]]:
        """The batches of each step, on the device. On a GPU the next step's are under way meanwhile."""
        shards = Ahead(self.source, self.order) if isinstance(self.order, LocalOrder) else None
        asked, taken = tee(
            [_requests(step, rows, pieces) for rows in pieces] for step, pieces in _followed(steps, shards)
        )
        chunks = ahead(
            _Maker(self.source, self.order, self.transform, self.collate),
            (request for pieces in asked for requests in pieces for request in requests),
            workers=self.workers,
        )
        if self.workers:
            chunks = _counting_retries(chunks)
        made = _fetched(([self._joined(chunks, requests) for requests in pieces] for pieces in taken), shards)
        return _on_gpu(made, self.device) if self.device.type == "cuda" else made

    def _joined(self, chunks: Iterator["Chunk"], requests: Sequence[Request]) -> Batch:
        """The next chunks as one batch, copied out of the memory that is shared with the workers."""
        step, rows = requests[0].step, sum(request.count for request in requests)
        pinned = self.device.type == "cuda"
        parts: list[Chunk] = []
        if self.workers == 0 and len(requests) == 1 and not pinned:
            parts.append(next(chunks))
            images = torch.as_tensor(parts[0].images)
        else:
            images = torch.empty((rows, step.size, step.size, 3), dtype=torch.uint8, pin_memory=pinned)
            for request, chunk in zip(requests, islice(chunks, len(requests)), strict=True):
                at = request.first - requests[0].first
                images[at : at + request.count] = torch.as_tensor(chunk.images)
                parts.append(replace(chunk, images=images[:0]))
        start = step.start + requests[0].first
        return Batch(
            step=step,
            images=images.permute(0, 3, 1, 2),
            targets={
                name: torch.from_numpy(np.concatenate([part.targets[name] for part in parts]))
                for name in parts[0].targets
            },
            positions=torch.arange(start, start + rows),
            samples=torch.from_numpy(np.concatenate([part.samples for part in parts])),
            counted=sum(request.counted for request in requests),
            replaced=sum(part.replaced for part in parts),
        )


def _counting_retries(chunks: Iterator["Chunk"]) -> Iterator["Chunk"]:
    """Chunks of other processes; the reads that they tried again are added to this one's."""
    for chunk in chunks:
        count_retries(chunk.retries)
        yield chunk


def _followed(steps: Iterable[StepPieces], shards: Ahead | None) -> Iterator[StepPieces]:
    """The steps; with the first that is asked for, when all workers have been forked, fetching begins."""
    for step, pieces in steps:
        if shards is not None:
            shards.begin(step.start)
        yield step, pieces


def _fetched(made: Iterator[list[Batch]], shards: Ahead | None) -> Iterator[list[Batch]]:
    """Each step's batches, while the shards of those to come are fetched."""
    if shards is None:
        yield from made
        return
    try:
        for batches in made:
            shards.at(batches[0].step.start)
            yield batches
    finally:
        shards.end()


def _requests(step: Step, rows: range, pieces: Sequence[range]) -> list[Request]:
    """The chunks of a piece, of even length. An empty piece is the rank's last row, which does not count."""
    if not rows:
        return [Request(step, max(piece.stop for piece in pieces if piece) - 1, 1, 0)]
    count = -(-len(rows) // chunk_rows(step.size))
    cuts = (share(len(rows), number, count) for number in range(count))
    return [Request(step, rows[cut.start], len(cut), len(cut)) for cut in cuts]


def _on_gpu(made: Iterator[list[Batch]], device: torch.device) -> Iterator[list[Batch]]:
    """Each step's batches, copied on a stream of their own while the step before is computed."""
    stream = torch.cuda.Stream(device)

    def copied() -> Iterator[tuple[list[Batch], torch.cuda.Event]]:
        for batches in made:
            with torch.cuda.stream(stream):
                yield [batch.to(device) for batch in batches], stream.record_event()

    for batches, arrived in in_thread(copied()):
        current = torch.cuda.current_stream(device)
        current.wait_event(arrived)
        for batch in batches:
            for tensor in (batch.images, *batch.targets.values()):
                # The allocator may hand this memory on only when the step that uses it is over.
                tensor.record_stream(current)
        yield batches


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a worker hands over: images uint8 `[N, S, S, 3]`, if large in shared memory, and what a batch has.

    The rest are arrays, which go through the pipe. A tensor would be handed over as a file of its own.
    retries: reads that were tried again for it.
    """

    images: Tensor | NDArray[np.uint8]
    targets: dict[str, NDArray[Any]]
    samples: NDArray[np.int64]
    replaced: int
    retries: int


@dataclass(frozen=True)
class _Maker:
    """Makes the chunk of a request."""

    source: Source
    order: Positions
    transform: Transform
    collate: Callable[[Sequence[Sample], NDArray[np.int64]], Targets]

    def __call__(self, request: Request) -> Chunk:
        step, start, before = request.step, request.step.start + request.first, retries()
        wanted = self.order.take(start, request.count)
        positions = np.arange(start, start + request.count)
        images = shared_bytes(request.count, step.size, step.size, 3)
        pixels = images.numpy()
        samples, found = [], np.empty_like(wanted)
        for row, index in enumerate(wanted.tolist()):
            sample, found[row], pixels[row] = self._read(index, start + row, step.size)
            # Collators want captions and labels; the image's bytes are done with.
            samples.append(sample._replace(image=None))
        return Chunk(
            images=images if images.is_shared() else pixels,
            targets={name: made.numpy() for name, made in self.collate(samples, positions).items()},
            samples=found,
            replaced=int((found != wanted).sum()) if request.counted else 0,
            retries=retries() - before,
        )

    def _read(self, wanted: int, position: int, size: int) -> tuple[Sample, int, NDArray[np.uint8]]:
        """The sample with its pixels, or the next one of the source whose image can be read."""
        for step in range(MOST_UNREADABLE + 1):
            index = (wanted + step) % len(self.source)
            sample = self.source[index]
            if sample.image is None:
                continue
            try:
                return sample, index, self.transform(sample.image, position, size)
            except UnreadableImage:
                continue
        raise DataError(
            f"{self.source.name}: over {MOST_UNREADABLE} unreadable images in a row from sample {wanted}",
            f"look at the source with: {inspect_command(self.source)}",
        )
