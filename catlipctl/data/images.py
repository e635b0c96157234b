"""All images of a source once, in order: what evaluation and prediction read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from catlipctl.data.decode import UnreadableImage
from catlipctl.data.sample import Source
from catlipctl.data.transform import EvalTransform, Preprocessing
from catlipctl.data.workers import ahead
from catlipctl.settings.data import Decode


def read_images(
    source: Source,
    preprocessing: Preprocessing,
    indices: Sequence[int] | None = None,
    batch: int = 256,
    workers: int = 0,
    decode: Decode = "exact",
) -> "ImageReader":
    """An iterator over (images uint8 `[B, 3, S, S]`, samples int64 `[B]`), in the order of `indices` (all).

    An unreadable image is left out and counted in `.unreadable`; `.keys` has those of the images read.
    """
    return ImageReader(source, EvalTransform(preprocessing, decode), indices, batch, workers)


class ImageReader:
    """What `read_images` returns. unreadable: images left out so far. keys: of those read so far."""

    def __init__(
        self,
        source: Source,
        transform: EvalTransform,
        indices: Sequence[int] | None,
        batch: int,
        workers: int,
    ) -> None:
        self.unreadable = 0
        self.keys: list[str] = []
        wanted = range(len(source)) if indices is None else [int(index) for index in indices]
        self._chunks = [wanted[start : start + batch] for start in range(0, len(wanted), batch)]
        self._results = ahead(_Chunk(source, transform), self._chunks, workers=workers)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        for images, samples, keys in self._results:
            self.unreadable += len(keys) - len(samples)
            self.keys += [key for key in keys if key is not None]
            if len(samples):
                return images, samples
        raise StopIteration


@dataclass(frozen=True)
class _Chunk:
    source: Source
    transform: EvalTransform

    def __call__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor, list[str | None]]:
        """Pixels, indices, and the key of each sample, None where its image cannot be read."""
        size = self.transform.preprocessing.size
        pixels = np.empty((len(indices), size, size, 3), np.uint8)
        read: list[int] = []
        keys: list[str | None] = [None] * len(indices)
        for place, index in enumerate(indices):
            sample = self.source[index]
            if sample.image is None:
                continue
            try:
                pixels[len(read)] = self.transform(sample.image, index, size)
            except UnreadableImage:
                continue
            read.append(index)
            keys[place] = sample.key
        samples = torch.tensor(read, dtype=torch.int64)
        images = torch.from_numpy(pixels[: len(read)]).permute(0, 3, 1, 2)
        return images, samples, keys
