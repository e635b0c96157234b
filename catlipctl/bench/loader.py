"""`bench loader`: training images a second, ours decoded fast and exactly, and webdataset's with torchvision.

Or, all decoded fast: ours at random, ours as a stream, and webdataset's.

All paths read one shard (or eight), made of the first readable images of a source, their bytes
unchanged. They take turns, a few chunks each, every other round in the other order, so that whatever else the
machine does meanwhile hits all alike.
"""

import io
import json
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image

from catlipctl.bench.result import LoaderBenchmark, LoaderRow, Spread
from catlipctl.data import Order, Source, TrainTransform, UnreadableImage, open_source
from catlipctl.data.decode import decode
from catlipctl.data.feeding import training_crops
from catlipctl.data.order import LocalOrder
from catlipctl.data.sources import Streaming
from catlipctl.data.sources.concatenation import inspect_command
from catlipctl.data.sources.streams.cache import GIB
from catlipctl.errors import DataError
from catlipctl.progress import SILENT, Progress
from catlipctl.settings.data import Augmentation, Decode

CHUNK = 64
IMAGES = 1024
"""At most so many are put into the shard."""
ROUNDS = 12
REFERENCE = "webdataset"
INSTALL = "pip install webdataset"
STREAMED_IMAGES, STREAMED_SHARDS, WINDOW = 8192, 8, 2
"""Where a stream is timed: a shard is to have a thousand images, and the order mixes two."""

Chunks = Callable[[Path, int, int], Iterator[Any]]
"""Folder of the shards, pixels a side and workers to endless chunks of 64 images."""


def loader(
    source: Source,
    sizes: list[int],
    *,
    workers: int = 0,
    images: int | None = None,
    rounds: int = ROUNDS,
    streamed: bool = False,
    progress: Progress = SILENT,
) -> LoaderBenchmark:
    """Time every path at each size, in pixels a side, on at most so many images of the source.

    streamed: compare a stream, whose cache is empty at each turn, with random access and webdataset.

    Raises DataError where no image can be read.
    """
    images = images or (STREAMED_IMAGES if streamed else IMAGES)
    left_out = {}
    paths: dict[str, Chunks] = {"fast": _ours("fast"), "exact": _ours("exact"), REFERENCE: _webdataset}
    if streamed:
        paths = {
            "fast": _ours("fast"),
            "window": _window,
            "streamed": _streamed,
            REFERENCE: _webdataset_with_ours,
        }
    shards = STREAMED_SHARDS if streamed else max(1, workers)
    try:
        import webdataset  # noqa: F401
    except ModuleNotFoundError:
        left_out[REFERENCE] = INSTALL
        del paths[REFERENCE]
        progress.warn(f"{REFERENCE} is left out: it is not installed; this brings it: {INSTALL}")
    with TemporaryDirectory() as folder, _one_thread():
        pictures = _write_shards(source, Path(folder), images, shards, progress)
        timed = max(4 + 8 * workers, len(pictures) // CHUNK - 1 if streamed else 0)
        rows: list[LoaderRow] = []
        with progress.task("loading", total=rounds * len(sizes) * len(paths), unit="turns") as task:
            for size in sizes:
                speeds: dict[str, list[float]] = {name: [] for name in paths}
                for number in range(-1, rounds):  # the first one warms up
                    for name in list(paths)[:: 1 if number % 2 == 0 else -1]:
                        speed = _speed(paths[name](Path(folder), size, workers), timed, workers)
                        if number >= 0:
                            speeds[name].append(speed)
                            task.advance()
                rows += _rows(size, speeds)
    return LoaderBenchmark(
        protocol=f"shard to uint8 chunks of {CHUNK} training crops, {workers} workers",
        data={"source": source.name, "fingerprint": source.fingerprint, "images": len(pictures)},
        images=len(pictures),
        formats=dict(Counter(picture.form for picture in pictures).most_common()),
        width=median(picture.width for picture in pictures),
        height=median(picture.height for picture in pictures),
        bytes=median(picture.bytes for picture in pictures),
        chunk=CHUNK,
        workers=workers,
        rows=rows,
        left_out=left_out,
    )


def _rows(size: int, speeds: dict[str, list[float]]) -> list[LoaderRow]:
    reference = speeds.get(REFERENCE)
    rows = []
    for name, rounds in speeds.items():
        ratio = None
        if reference is not None and name != REFERENCE:
            ratio = Spread.of([ours / theirs for ours, theirs in zip(rounds, reference, strict=True)])
        spread = Spread.of(rounds)
        rows.append(LoaderRow(name=name, size=size, images_per_second=spread, rounds=rounds, ratio=ratio))
    return rows


def _speed(chunks: Iterator[Any], timed: int, workers: int) -> float:
    """Images a second after the first chunk, over so many chunks."""
    clock = time.perf_counter if workers else time.process_time
    next(chunks)
    start = clock()
    for _ in islice(chunks, timed):
        pass
    return timed * CHUNK / max(clock() - start, 1e-9)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class _Picture:
    form: str
    width: int
    height: int
    bytes: int


def _write_shards(
    source: Source, folder: Path, images: int, shards: int, progress: Progress
) -> list[_Picture]:
    """The first readable images as webdataset shards, one for each worker; what they are."""
    pictures: list[_Picture] = []
    with ExitStack() as opened, progress.task("writing a shard", min(images, len(source)), "images") as task:
        paths = [folder / f"{shard:03d}.tar" for shard in range(shards)]
        tars = [opened.enter_context(tarfile.open(path, "w")) for path in paths]
        for index in range(len(source)):
            image = source[index].image or b""
            try:
                width, height = decode(image).size
            except UnreadableImage:
                continue
            form = Image.open(io.BytesIO(image)).format or ""
            # All are called jpg, and known by their content: so every path finds them.
            member = tarfile.TarInfo(f"{index:09d}.jpg")
            member.size = len(image)
            tars[len(pictures) % shards].addfile(member, io.BytesIO(image))
            pictures.append(_Picture(form, width, height, len(image)))
            task.advance()
            if len(pictures) == images:
                break
    sizes = {path.name: len(range(at, len(pictures), shards)) for at, path in enumerate(paths)}
    (folder / "sizes.json").write_text(json.dumps(sizes))
    if len(pictures) < shards:
        raise DataError(
            f"{source.name}: {len(pictures)} of its images can be read, too few to time",
            f"look at it with: {inspect_command(source)}",
        )
    return pictures


def _ours(way: Decode) -> Chunks:
    """The loader that trains, in steps of one chunk, without labels."""

    def chunks(folder: Path, size: int, workers: int) -> Iterator[torch.Tensor]:
        source = open_source(folder, need="images", cache_dir=folder)
        return training_crops(source, Order(len(source), 0), size, CHUNK, workers, way)

    return chunks


def _window(folder: Path, size: int, workers: int) -> Iterator[torch.Tensor]:
    """The same, by the local order, where the shards lie."""
    source = open_source(folder, need="images", cache_dir=folder)
    return training_crops(source, LocalOrder(source.shard_sizes, 0, WINDOW), size, CHUNK, workers)


def _streamed(folder: Path, size: int, workers: int) -> Iterator[torch.Tensor]:
    """By the local order, whole shard after whole shard through a cache that is empty."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        streaming = Streaming(WINDOW, 64 * GIB, local=True)
        source = open_source(folder, need="images", streaming=streaming, cache_dir=Path(cache))
        order = LocalOrder(source.shard_sizes, 0, WINDOW)
        yield from training_crops(source, order, size, CHUNK, workers)


def _webdataset(folder: Path, size: int, workers: int) -> Iterator[Any]:
    """As its documentation has it, but for the float conversion, which our side also leaves to the device."""
    from torchvision.transforms import v2

    transform = v2.Compose([v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(), v2.PILToTensor()])
    return _by_webdataset(folder, _Read(transform), workers)


def _webdataset_with_ours(folder: Path, size: int, workers: int) -> Iterator[Any]:
    """webdataset reads, in the order of storage, and our transform decodes and crops."""
    return _by_webdataset(folder, _Crop(TrainTransform(Augmentation(), 0, decode="fast"), size), workers)


def _by_webdataset(folder: Path, read: Callable[[tuple[bytes]], Any], workers: int) -> Iterator[Any]:
    import webdataset
    from torch.utils.data import DataLoader

    shards = [str(path) for path in sorted(folder.glob("*.tar"))]
    dataset = webdataset.WebDataset(shards, shardshuffle=False).to_tuple("jpg").map(read).repeat()
    return iter(DataLoader(dataset, batch_size=CHUNK, num_workers=workers))


@dataclass(frozen=True)
class _Read:
    """What webdataset's `decode("pilrgb")` does, whatever the image's extension; then the transform."""

    transform: Callable[[Image.Image], torch.Tensor]

    def __call__(self, sample: tuple[bytes]) -> torch.Tensor:
        with io.BytesIO(sample[0]) as stream:
            image = Image.open(stream)
            image.load()
            return self.transform(image.convert("RGB"))


@dataclass(frozen=True)
class _Crop:
    """Our transform, each time with another position's draws."""

    transform: TrainTransform
    size: int
    position: Iterator[int] = field(default_factory=count)

    def __call__(self, sample: tuple[bytes]) -> torch.Tensor:
        return torch.from_numpy(self.transform(sample[0], next(self.position), self.size))
