"""Reading all images once: in order, the unreadable left out and counted."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from catlipctl.data.images import read_images
from catlipctl.data.sample import Sample
from catlipctl.data.transform import EvalTransform, Preprocessing

PREPROCESSING = Preprocessing(8, crop_pct=1.0)


class Pictures:
    """Grey pictures; picture i has the level 2 i. Every seventh cannot be read, in one of two ways."""

    name = fingerprint = "pictures"
    shards = 0
    faults: dict[str, int] = {}  # noqa: RUF012

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> Sample:
        stream = io.BytesIO()
        Image.new("L", (10, 9), 2 * index).save(stream, "PNG")
        damaged = None if index % 2 else b"damaged"
        return Sample(str(index), damaged if index % 7 == 0 else stream.getvalue())

    captions = labels = None


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch", [1, 7, 100])
def test_each_readable_image_once_and_in_order(batch: int, workers: int) -> None:
    reader = read_images(Pictures(), PREPROCESSING, batch=batch, workers=workers)
    parts = list(reader)
    samples = torch.cat([samples for _, samples in parts])
    images = torch.cat([images for images, _ in parts])
    assert samples.tolist() == [i for i in range(60) if i % 7]
    assert reader.unreadable == 9
    assert all(0 < len(samples) <= batch for _, samples in parts)
    assert images.dtype == torch.uint8
    assert torch.equal(images, (2 * samples).view(-1, 1, 1, 1).expand(-1, 3, 8, 8))


def test_chosen_samples_in_the_order_asked_for() -> None:
    chosen = [33, 5, 7, 5, 59]
    reader = read_images(Pictures(), PREPROCESSING, np.array(chosen), batch=2)
    images, samples = (torch.cat(parts) for parts in zip(*reader, strict=True))
    assert samples.tolist() == [33, 5, 5, 59]
    assert reader.unreadable == 1
    for image, sample in zip(images, samples.tolist(), strict=True):
        expected = EvalTransform(PREPROCESSING)(Pictures()[sample].image, 0, 8)
        assert np.array_equal(image.permute(1, 2, 0), expected)


def test_nothing_to_read_is_nothing() -> None:
    assert list(read_images(Pictures(), PREPROCESSING, [])) == []
    reader = read_images(Pictures(), PREPROCESSING, [0, 7, 14])
    assert list(reader) == []
    assert reader.unreadable == 3
