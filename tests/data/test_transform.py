"""Transforms against torchvision's and timm's; the fast against the exact; draws against their own bounds."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from timm.data import create_transform
from torch import Tensor
from torchvision.transforms import v2

from catlipctl.data.decode import UnreadableImage
from catlipctl.data.transform import EvalTransform, Preprocessing, TrainTransform
from catlipctl.errors import UsageError
from catlipctl.settings.data import Augmentation

IMAGENET = Preprocessing(32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic", 0.875)


def picture(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(width * height).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str = "PPM", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def evaluated(preprocessing: Preprocessing, image: Image.Image) -> Tensor:
    pixels = EvalTransform(preprocessing)(encoded(image), 0, preprocessing.size)
    images = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    return preprocessing.standardised(preprocessing.scaled(images))[0]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.square(a.astype(float) - b).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-6)))


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
    ours = evaluated(Preprocessing(224, interpolation=method), image)
    assert ours.shape == (3, 224, 224)
    assert (ours - theirs).abs().max() <= 1 / 255 + 1e-6


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_a_fast_evaluation_differs_from_pillows_by_rounding(method: str) -> None:
    for width, height in ((300, 200), (200, 301), (64, 64), (40, 1000)):
        image = encoded(picture(width, height), "JPEG", quality=95)
        fast, exact = (
            EvalTransform(Preprocessing(48, interpolation=method), decode)(image, 0, 48).astype(int)
            for decode in ("fast", "exact")
        )
        assert abs(fast - exact).max() <= 2
        assert (fast != exact).any() == (height < 1000)  # one that is cut goes the exact way
    png = encoded(picture(90, 70), "PNG")
    fast, exact = (EvalTransform(IMAGENET, decode)(png, 0, 32) for decode in ("fast", "exact"))
    assert np.array_equal(fast, exact)


def test_evaluation_equals_timm_with_normalisation() -> None:
    image = picture(90, 70)
    theirs = create_transform(
        32, interpolation="bicubic", mean=IMAGENET.mean, std=IMAGENET.std, crop_pct=IMAGENET.crop_pct
    )(image)
    assert (evaluated(IMAGENET, image) - theirs).abs().max() <= 1 / 255 / min(IMAGENET.std) + 1e-5


def test_evaluation_takes_the_size_of_the_call() -> None:
    image = encoded(picture(90, 70))
    asked = EvalTransform(Preprocessing(32))(image, 0, 48)
    assert np.array_equal(asked, EvalTransform(Preprocessing(48))(image, 0, 48))


@pytest.mark.parametrize("size", [32, 48])
def test_a_whole_crop_without_flip_is_torchvisions(size: int) -> None:
    image = picture(64, 48)
    augmentation = Augmentation(scale=(1, 1), ratio=(64 / 48, 64 / 48), flip=0)
    ours = TrainTransform(augmentation, 0, decode="exact")(encoded(image), 5, size)
    theirs = v2.functional.resized_crop(image, 0, 0, 48, 64, [size, size])
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "lanczos"])
def test_an_exact_crop_is_pillows_resize_of_the_box(method: str) -> None:
    seen, image = [], picture(90, 64)

    class Watched(TrainTransform):
        def _box(self, width: int, height: int, key: int) -> tuple[int, int, int, int]:
            seen.append(super()._box(width, height, key))
            return seen[-1]

    transform = Watched(Augmentation(flip=0), 7, method, "exact")
    for position in range(20):
        ours = transform(encoded(image), position, 32)
        theirs = image.resize((32, 32), getattr(Image.Resampling, method.upper()), box=seen[-1])
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("decode", ["fast", "exact"])
def test_flip_mirrors_left_and_right(decode: str) -> None:
    image = encoded(picture(64, 64), "JPEG")
    settings = {"scale": (1, 1), "ratio": (1, 1)}
    plain, flipped, half = (
        TrainTransform(Augmentation(flip=flip, **settings), 0, decode=decode) for flip in (0, 1, 0.5)
    )
    mirrored = flipped(image, 3, 32)
    assert np.array_equal(mirrored, plain(image, 3, 32)[:, ::-1])
    share = np.mean([np.array_equal(half(image, p, 32), mirrored) for p in range(1000)])
    assert abs(share - 0.5) < 0.08


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 2**40), st.integers(0, 2**63))
def test_crops_lie_inside_and_are_a_function_of_seed_and_position(
    w: int, h: int, position: int, seed: int
) -> None:
    image = encoded(picture(w, h))
    transform = TrainTransform(Augmentation(), seed)
    left, upper, right, lower = transform._box(w, h, seed)
    assert 0 <= left < right <= w
    assert 0 <= upper < lower <= h
    assert np.array_equal(transform(image, position, 8), transform(image, position, 8))


def test_crops_have_the_areas_and_ratios_asked_for() -> None:
    """Where none misfits, area and log ratio are uniform, as torchvision draws them."""
    augmentation = Augmentation(scale=(0.1, 0.4), ratio=(0.5, 2))
    transform = TrainTransform(augmentation, 0)
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
    image = encoded(picture(64, 64))
    transform = TrainTransform(Augmentation(), 0)
    seen = {transform(image, position, 16).tobytes() for position in range(200)}
    assert len(seen) == 200
    assert not np.array_equal(transform(image, 0, 16), TrainTransform(Augmentation(), 1)(image, 0, 16))


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [16, 128, 224, 320])
def test_fast_crops_are_the_exact_ones_of_smooth_pictures(method: str, size: int) -> None:
    images = [encoded(picture(*shape), "JPEG", quality=90) for shape in ((341, 256), (470, 394), (60, 900))]
    fast, exact = (TrainTransform(Augmentation(), 3, method, decode) for decode in ("fast", "exact"))
    found = [psnr(fast(images[p % 3], p, size), exact(images[p % 3], p, size)) for p in range(60)]
    assert np.median(found) >= 44
    assert min(found) >= 36


@pytest.mark.parametrize("size", [64, 128, 224])
def test_fast_crops_are_the_exact_ones_of_real_photos(shared_data: Path, size: int) -> None:
    with tarfile.open(shared_data / "photos" / "cc3m-a-00000.tar") as shard:
        members = [member for member in shard if member.name.endswith(".jpg")][:150]
        images = [shard.extractfile(member).read() for member in members]
    fast, exact = (TrainTransform(Augmentation(), 3, decode=decode) for decode in ("fast", "exact"))
    found = [psnr(fast(image, p, size), exact(image, p, size)) for p, image in enumerate(images)]
    assert np.median(found) >= 48
    assert min(found) >= 34


def test_whatever_is_no_plain_jpeg_goes_the_exact_way() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    fast, exact = (TrainTransform(Augmentation(), 0, decode=decode) for decode in ("fast", "exact"))
    for image in (
        encoded(picture(90, 64), "PNG"),
        encoded(picture(90, 64), "WEBP"),
        encoded(picture(90, 64).convert("CMYK"), "JPEG"),
        encoded(picture(90, 64).convert("L"), "JPEG"),
        encoded(picture(90, 64), "JPEG", exif=exif),
    ):
        for position in range(4):
            assert np.array_equal(fast(image, position, 32), exact(image, position, 32))
    lanczos = [
        TrainTransform(Augmentation(), 0, "lanczos", decode)(encoded(picture(90, 64), "JPEG"), 1, 32)
        for decode in ("fast", "exact")
    ]
    assert np.array_equal(*lanczos)


@pytest.mark.parametrize("decode", ["fast", "exact"])
@pytest.mark.parametrize("image", [b"", b"damaged", encoded(picture(90, 64), "JPEG")[:500]])
def test_damaged_bytes_are_unreadable(decode: str, image: bytes) -> None:
    with pytest.raises(UnreadableImage):
        TrainTransform(Augmentation(), 0, decode=decode)(image, 0, 32)
    with pytest.raises(UnreadableImage):
        EvalTransform(IMAGENET)(image, 0, 32)


def test_pixels_are_scaled_as_numpy_does_and_standardised_as_torchvision() -> None:
    pixels = torch.randint(0, 256, (4, 20, 30, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    scaled = IMAGENET.scaled(pixels)
    assert scaled.is_contiguous()
    assert np.array_equal(scaled, pixels.numpy() / np.float32(255))
    theirs = v2.functional.normalize(scaled, IMAGENET.mean, IMAGENET.std)
    assert torch.equal(IMAGENET.standardised(scaled.clone()), theirs)


def test_standardising_copies_nothing_that_it_need_not() -> None:
    images = torch.rand(2, 3, 8, 8)
    assert Preprocessing(8).standardised(images) is images
    assert IMAGENET.standardised(images).data_ptr() == images.data_ptr()


def test_gradients_pass_through_standardising() -> None:
    with torch.inference_mode():
        IMAGENET.standardised(torch.rand(2, 3, 8, 8))
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    kept = images.detach().clone()
    IMAGENET.standardised(images).sum().backward()
    assert torch.equal(images.detach(), kept)
    expected = torch.tensor(IMAGENET.std).reciprocal().view(1, 3, 1, 1).expand_as(images)
    assert torch.allclose(images.grad, expected)


@pytest.mark.parametrize("form", ["PPM", "JPEG"])
@pytest.mark.parametrize("size", [(1, 1), (60_000, 1), (1, 60_000)])
def test_extreme_shapes_need_no_extreme_memory(form: str, size: tuple[int, int]) -> None:
    image = encoded(Image.new("RGB", size, "white"), form)
    for transform in (EvalTransform(Preprocessing(224)), TrainTransform(Augmentation(), 0)):
        pixels = transform(image, 1, 224)
        assert pixels.shape == (224, 224, 3)
        assert pixels.flags["C_CONTIGUOUS"]
        assert (pixels == 255).all()


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
    with pytest.raises(UsageError, match="interpolation"):
        TrainTransform(Augmentation(), 0, "fancy")
