"""Transforms against torchvision's and timm's; training draws against their own bounds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from timm.data import create_transform
from torchvision.transforms import v2

from catlipctl.data.transform import Augmentation, Preprocessing, eval_transform, train_transform
from catlipctl.errors import UsageError

CATLIP = Preprocessing(size=224)
IMAGENET = Preprocessing(32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic", 0.875)


def picture(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(width * height).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("size", [(300, 200), (200, 301), (232, 232), (64, 64), (1000, 40), (225, 999)])
@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_evaluation_equals_torchvision(size: tuple[int, int], method: str) -> None:
    image = picture(*size)
    theirs = v2.Compose(
        [
            v2.Resize(232, getattr(v2.InterpolationMode, method.upper())),
            v2.CenterCrop(224),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )(image)
    ours = eval_transform(Preprocessing(224, interpolation=method))(image)
    assert ours.shape == (3, 224, 224)
    assert (ours - theirs).abs().max() <= 1 / 255 + 1e-6


def test_evaluation_equals_timm_with_normalisation() -> None:
    image = picture(90, 70)
    theirs = create_transform(
        32, interpolation="bicubic", mean=IMAGENET.mean, std=IMAGENET.std, crop_pct=IMAGENET.crop_pct
    )(image)
    assert (eval_transform(IMAGENET)(image) - theirs).abs().max() <= 1 / 255 / min(IMAGENET.std) + 1e-5


def test_a_whole_crop_without_flip_is_pillows_resize() -> None:
    image = picture(64, 48)
    transform = train_transform(
        Preprocessing(32), Augmentation(scale=(1, 1), ratio=(64 / 48, 64 / 48), flip=0), seed=0
    )
    expected = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)).transpose(2, 0, 1) / 255
    assert np.allclose(transform(image, 5), expected, atol=1e-6)


def test_flip_mirrors_left_and_right() -> None:
    image = picture(64, 64)
    settings = {"scale": (1, 1), "ratio": (1, 1)}
    plain = train_transform(Preprocessing(32), Augmentation(flip=0, **settings), 0)(image, 3)
    flipped = train_transform(Preprocessing(32), Augmentation(flip=1, **settings), 0)(image, 3)
    assert torch.equal(flipped, plain.flip(-1))
    half = train_transform(Preprocessing(32), Augmentation(flip=0.5, **settings), 0)
    share = np.mean([torch.equal(half(image, p), flipped) for p in range(1000)])
    assert abs(share - 0.5) < 0.08


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 2**40), st.integers(0, 2**63))
def test_crops_lie_inside_and_are_a_function_of_seed_and_position(
    w: int, h: int, position: int, seed: int
) -> None:
    image = Image.new("RGB", (w, h), (10, 20, 30))
    transform = train_transform(Preprocessing(8), Augmentation(), seed)
    left, upper, right, lower = transform._box(w, h, seed)
    assert 0 <= left < right <= w
    assert 0 <= upper < lower <= h
    assert torch.equal(transform(image, position), transform(image, position))


def test_crops_have_the_areas_and_ratios_asked_for() -> None:
    """Where none misfits, area and log ratio are uniform, as torchvision draws them."""
    augmentation = Augmentation(scale=(0.1, 0.4), ratio=(0.5, 2))
    transform = train_transform(Preprocessing(8), augmentation, 0)
    boxes = np.array([transform._box(1000, 1000, key) for key in range(4000)])
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    area, ratio = width * height / 1e6, np.log(width / height)
    assert area.min() > 0.099
    assert area.max() < 0.401
    assert np.abs(np.histogram(area, 10, (0.1, 0.4))[0] - 400).max() < 100
    assert np.abs(np.histogram(ratio, 10, (-np.log(2), np.log(2)))[0] - 400).max() < 100
    place = boxes[:, 0] / (1000 - width)
    assert np.abs(np.histogram(place, 10, (0, 1))[0] - 400).max() < 100


def test_positions_and_seeds_differ() -> None:
    image = picture(64, 64)
    transform = train_transform(Preprocessing(16), Augmentation(), 0)
    seen = {transform(image, position).numpy().tobytes() for position in range(200)}
    assert len(seen) == 200
    assert not torch.equal(
        transform(image, 0), train_transform(Preprocessing(16), Augmentation(), 1)(image, 0)
    )


def test_a_batch_is_normalised_as_its_images() -> None:
    transform = train_transform(IMAGENET, Augmentation(), 0)
    images = [picture(40 + i, 50) for i in range(4)]
    together = transform.normalise(np.stack([transform.pixels(image, i) for i, image in enumerate(images)]))
    assert together.dtype == torch.float32
    assert together.is_contiguous()
    theirs = v2.Normalize(IMAGENET.mean, IMAGENET.std)
    for i, image in enumerate(images):
        assert torch.equal(together[i], transform(image, i))
        pixels = torch.from_numpy(transform.pixels(image, i).copy()).permute(2, 0, 1) / 255
        assert torch.allclose(together[i], theirs(pixels))


def test_extreme_shapes_need_no_extreme_memory() -> None:
    for size in [(1, 1), (200_000, 1), (1, 200_000)]:
        for transform in (eval_transform(CATLIP), train_transform(CATLIP, Augmentation(), 0)):
            assert transform(Image.new("RGB", size, "white"), 1).shape == (3, 224, 224)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": (0, 1)},
        {"scale": (0.5, 1.5)},
        {"scale": (0.9, 0.1)},
        {"ratio": (2, 1)},
        {"flip": 2},
        {"blur": 1},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Augmentation(**wrong)


def test_an_unknown_interpolation_is_refused() -> None:
    with pytest.raises(UsageError, match="interpolation"):
        Preprocessing(32, interpolation="fancy")
