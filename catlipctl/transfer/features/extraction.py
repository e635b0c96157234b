"""What a frozen tower makes of images, extracted once."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from catlipctl.data import Source, read_images
from catlipctl.data.batch import share
from catlipctl.errors import DataError, MachineError
from catlipctl.models import Tower
from catlipctl.progress import SILENT, Progress, Task
from catlipctl.training.world import World
from catlipctl.transfer.features.cache import FOLDER, InMemory, OnDisk, Part, Store, identity

BATCH = 256
PART = 1024
"""Images of a part, at least: what an interruption costs at most."""


@dataclass(frozen=True)
class Features:
    """values: `[N, D]`, float32, what the head is given; of a `PatchTower` `[N, T, D]`, float16. samples:
    `[N]`, the source's indices.

    keys: of these samples. unreadable: images left out. extracted: images that the tower was given for it;
    the others were known.
    """

    values: Tensor
    samples: Tensor
    keys: list[str]
    unreadable: int
    extracted: int = 0


def extract(
    tower: Tower,
    source: Source,
    indices: Sequence[int] | None = None,
    *,
    cache: Path | None = None,
    world: World | None = None,
    workers: int = 0,
    description: str = "extracting features",
    progress: Progress = SILENT,
) -> Features:
    """Features of the samples `indices` (all), in their order; each index once.

    The tower is used in eval mode on whatever device it is, under bfloat16 on a GPU that computes in it.
    cache: the cache folder, where parts are kept and those of earlier extractions are found. world: the
    processes that share the work, all of which call; the first has the features, the others none of them.
    Without a cache they hand their parts over in a temporary folder. Raises DataError where no image can be
    read, MachineError where the processes do not see one folder.
    """
    wanted = torch.arange(len(source)) if indices is None else torch.as_tensor(indices, dtype=torch.int64)
    rank, processes = (world.rank, world.size) if world else (0, 1)
    heard = progress if rank == 0 else SILENT
    precision = world.precision("auto") if world else torch.float32
    with _store(tower, source, cache, world, precision, heard) as store:
        known = world.on_main(store.known) if world else store.known()
        missing = wanted[~torch.isin(wanted, known)]
        if len(missing) < len(wanted):
            heard.note(f"{source.name}: features of {len(wanted) - len(missing):,} images are in the cache")
        mine = missing[torch.tensor(share(len(missing), rank, processes), dtype=torch.int64)]
        with heard.task(description, len(mine), "images") as task:
            for part in _parts(tower, source, mine, precision, workers, task):
                store.add(part)
        if world:
            world.wait()
        if rank > 0:
            nothing = torch.empty(0, dtype=torch.int64)
            return Features(torch.empty(0, 0), nothing, [], 0)
        found = _gathered(store, wanted, len(missing))
    if not len(found.samples):
        raise DataError(
            f"none of the {len(wanted):,} images of {source.name} can be read", "check that they are images"
        )
    if found.unreadable:
        progress.warn(f"{source.name}: {found.unreadable:,} unreadable images are left out")
    return found


@contextmanager
def _store(
    tower: Tower,
    source: Source,
    cache: Path | None,
    world: World | None,
    precision: torch.dtype,
    progress: Progress,
) -> Iterator[Store]:
    """Where the parts go: into the cache, into memory, or, of several processes, where the first reads."""
    if cache is not None:
        name = identity(tower, source, precision=precision)
        yield OnDisk(cache / FOLDER / name, name, progress)
    elif world is None or world.size == 1:
        yield InMemory()
    else:
        folder = tempfile.TemporaryDirectory(prefix="catlipctl-") if world.is_main else None
        path = world.on_main(lambda: folder.name if folder else "")
        try:
            yield OnDisk(Path(path), "temporary", progress)
        finally:
            if folder:
                folder.cleanup()


@torch.inference_mode()
def _parts(
    tower: Tower, source: Source, indices: Tensor, precision: torch.dtype, workers: int, task: Task
) -> Iterator[Part]:
    """What the tower makes of the samples, `PART` of them or more at a time, in their order."""
    device = next(tower.module.eval().parameters()).device
    reader = read_images(
        source, tower.preprocessing, indices.tolist(), batch=BATCH, workers=workers, decode="fast"
    )
    autocast = torch.autocast(device.type, precision, enabled=precision != torch.float32)
    values: list[Tensor] = []
    samples: list[Tensor] = []
    first = 0

    def part(end: int) -> Part:
        read = torch.cat(samples) if samples else indices[:0]
        tried = indices[first:end]
        # Only now, so that the device works on while the next images are read.
        made = torch.cat(values).cpu() if values else torch.empty(0, 0)
        with torch.inference_mode(False):  # a copy, which callers may use as they like
            unreadable = tried[~torch.isin(tried, read)].clone()
            task.advance(len(unreadable))
            found = Part(read.clone(), made.clone(), list(reader.keys), unreadable)
        for kept in (values, samples, reader.keys):
            kept.clear()
        return found

    for images, read in reader:
        with autocast:
            made = tower.features(tower.preprocessing.prepared(images.to(device)))
        values.append(made if made.dtype == torch.float16 else made.float())
        samples.append(read)
        task.advance(len(read))
        if sum(map(len, samples)) >= PART:
            end = first + int(torch.where(indices[first:] == read[-1])[0]) + 1
            yield part(end)
            first = end
    if first < len(indices):
        yield part(len(indices))


def _gathered(store: Store, wanted: Tensor, extracted: int) -> Features:
    """The features of the samples `wanted`, from all parts."""
    size = int(wanted.max()) + 1 if len(wanted) else 0
    place = torch.full((size,), -1)
    place[wanted] = torch.arange(len(wanted))
    values, keys = torch.empty(0, 0), [""] * len(wanted)
    readable, unreadable = (torch.zeros(len(wanted), dtype=torch.bool) for _ in range(2))

    def rows(samples: Tensor) -> tuple[Tensor, Tensor]:
        """Which of a part's samples are wanted, and in which rows."""
        inside = torch.where(samples < size)[0]
        inside = inside[place[samples[inside]] >= 0]
        return inside, place[samples[inside]]

    for part in store.parts():
        here, there = rows(part.samples)
        if len(here) and not values.numel():
            values = part.values.new_empty(len(wanted), *part.values.shape[1:])
        if len(here):
            values[there] = part.values[here]
        for number, row in zip(here.tolist(), there.tolist(), strict=True):
            keys[row] = part.keys[number]
        readable[there] = True
        unreadable[rows(part.unreadable)[1]] = True
    unreadable &= ~readable
    if lost := int((~readable & ~unreadable).sum()):
        raise MachineError(
            f"the features of {lost:,} images are not where the other processes should have written them",
            "name a folder that all machines share with --cache-dir",
        )
    if readable.all():
        return Features(values, wanted, keys, 0, extracted)
    if not readable.any():
        return Features(values, wanted[:0], [], len(wanted), extracted)
    kept = [key for key, whole in zip(keys, readable.tolist(), strict=True) if whole]
    return Features(values[readable], wanted[readable], kept, int(unreadable.sum()), extracted)
