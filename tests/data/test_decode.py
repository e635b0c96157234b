"""Any image to RGB, or a clear refusal, judged by Pillow's own files and numpy."""

import contextlib
import io
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from catlipctl.data.decode import FORMATS, MAX_PIXELS, UnreadableImage, decode, decode_jpeg
from catlipctl.data.sources.tars import IMAGE_EXTENSIONS

RNG = np.random.default_rng(0)
PICTURE = Image.fromarray(RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8))


def encoded(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_rgb_comes_back_exactly(form: str) -> None:
    picture = decode(encoded(PICTURE, form))
    assert picture.mode == "RGB"
    assert np.array_equal(picture, PICTURE)


@pytest.mark.parametrize(
    ("form", "mode"), [("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "P"), ("PNG", "1"), ("GIF", "L")]
)
def test_other_colour_modes_become_rgb(form: str, mode: str) -> None:
    source = encoded(PICTURE.convert(mode), form)
    assert np.array_equal(decode(source), Image.open(io.BytesIO(source)).convert("RGB"))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_over_white(mode: str) -> None:
    picture = PICTURE.convert(mode)
    alpha = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
    picture.putalpha(Image.fromarray(alpha))
    share = alpha[..., None] / 255
    colour = np.asarray(picture.convert("RGBA"))[..., :3]
    expected = colour * share + 255 * (1 - share)
    assert np.abs(np.asarray(decode(encoded(picture)), float) - expected).max() <= 1


def test_a_transparent_palette_entry_is_white() -> None:
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 0, 200, 10, 10])
    picture.putpixel((0, 0), 0)
    decoded = decode(encoded(picture, "GIF", transparency=0))
    assert decoded.getpixel((0, 0)) == (255, 255, 255)
    assert decoded.getpixel((1, 1)) == (200, 10, 10)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    values = np.linspace(0, 65_535, 64, dtype=np.uint16).reshape(8, 8)
    decoded = np.asarray(decode(encoded(Image.fromarray(values))))
    assert np.abs(decoded[..., 0] - values / 257).max() <= 0.5
    assert (decoded[..., 0] == decoded[..., 2]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation_is_applied(form: str, orientation: int) -> None:
    # The stored rows and columns of a scene with a bright left half, by the EXIF standard.
    scene = np.zeros((16, 32, 3), np.uint8)
    scene[:, :16], scene[:8, :, 2] = 200, 90
    stored = {
        1: scene,
        2: scene[:, ::-1],
        3: scene[::-1, ::-1],
        4: scene[::-1],
        5: scene.transpose(1, 0, 2),
        6: np.rot90(scene),
        7: scene[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(scene, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if form == "JPEG" else {}
    source = encoded(Image.fromarray(np.ascontiguousarray(stored)), form, exif=exif, **options)
    picture = decode(source)
    assert (decode_jpeg(source) is None) == (form != "JPEG" or orientation != 1)
    assert np.abs(np.asarray(picture, int) - scene).max() <= 40


def test_broken_exif_loses_no_picture() -> None:
    source = encoded(PICTURE, "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff broken")
    assert decode(source).size == PICTURE.size


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame(form: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if form == "WEBP" else {}
    source = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert decode(source).getpixel((3, 3)) == (255, 0, 0)


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (MAX_PIXELS + 1, 1), (2**31 - 1, 2**31 - 1)])
@pytest.mark.filterwarnings("error")
def test_a_claimed_giant_is_refused_before_a_pixel_is_decoded(width: int, height: int, monkeypatch) -> None:
    def load(_: Image.Image) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(UnreadableImage, match="pixels"):
        decode(png_claiming(width, height))


def test_the_bound_can_be_lowered() -> None:
    assert decode(encoded(PICTURE), max_pixels=600).size == (30, 20)
    with pytest.raises(UnreadableImage, match=r"30 x 20 pixels is above 599"):
        decode(encoded(PICTURE), max_pixels=599)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_a_truncated_image_is_unreadable(form: str) -> None:
    source = encoded(PICTURE.resize((200, 200)), form)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(UnreadableImage):
            decode(source[: int(len(source) * share)])


@pytest.mark.parametrize(
    "source", [b"", b"not an image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_what_is_no_image_is_unreadable(source: bytes) -> None:
    with pytest.raises(UnreadableImage, match="not an image"):
        decode(source)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"]), st.data())
def test_damaged_bytes_give_a_picture_or_unreadable_and_nothing_else(form: str, data: st.DataObject) -> None:
    source = bytearray(encoded(PICTURE, form))
    for _ in range(data.draw(st.integers(1, 6))):
        source[data.draw(st.integers(0, len(source) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UnreadableImage):
        assert decode(bytes(source), max_pixels=10**6).mode == "RGB"


def photo(width: int, height: int) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize((width, height))


@pytest.mark.parametrize("size", [(64, 48), (251, 333), (17, 1), (1, 1)])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_plain_jpeg_has_pillows_pixels(size: tuple[int, int], subsampling: str, progressive: bool) -> None:
    source = encoded(photo(*size), "JPEG", subsampling=subsampling, progressive=progressive, quality=85)
    pixels = decode_jpeg(source)
    assert pixels is not None
    assert np.array_equal(pixels, Image.open(io.BytesIO(source)))


def test_real_photos_have_pillows_pixels(shared_data: Path) -> None:
    seen = 0
    for name in ("cc3m-a-00000", "flickr8k-val-00000"):
        with tarfile.open(shared_data / "photos" / f"{name}.tar") as shard:
            for member in list(shard)[:300]:
                if member.name.endswith(".jpg"):
                    source = shard.extractfile(member).read()
                    assert np.array_equal(decode_jpeg(source), decode(source))
                    seen += 1
    assert seen > 100


def test_what_is_no_plain_jpeg_is_left_to_the_exact_way() -> None:
    for source in (
        encoded(PICTURE, "PNG"),
        encoded(PICTURE.convert("L"), "JPEG"),
        encoded(PICTURE.convert("CMYK"), "JPEG"),
        b"",
        b"not an image",
        encoded(photo(200, 200), "JPEG")[:-300],
    ):
        assert decode_jpeg(source) is None


def test_the_orientation_that_xmp_gives_is_left_to_the_exact_way() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    source = encoded(photo(64, 48), "JPEG", xmp=xmp)
    assert decode(source).size == (48, 64)
    assert decode_jpeg(source) is None


def test_a_giant_jpeg_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(_: bytes) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("simplejpeg.decode_jpeg", decoded)
    source = bytearray(encoded(photo(64, 48), "JPEG"))
    frame = source.index(b"\xff\xc0")
    source[frame + 5 : frame + 9] = struct.pack(">HH", 10_000, 10_000)
    with pytest.raises(UnreadableImage, match="10,000 x 10,000 pixels"):
        decode_jpeg(bytes(source))


@settings(max_examples=400, deadline=None)
@given(st.booleans(), st.data())
def test_the_fast_decoder_takes_no_jpeg_that_the_exact_one_refuses(
    progressive: bool, data: st.DataObject
) -> None:
    source = bytearray(encoded(PICTURE, "JPEG", progressive=progressive))
    for _ in range(data.draw(st.integers(1, 4))):
        source[data.draw(st.integers(0, len(source) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(source[: data.draw(st.integers(len(source) // 2, len(source)))])
    with contextlib.suppress(UnreadableImage):
        pixels = decode_jpeg(damaged, max_pixels=10**6)
        if pixels is not None:
            assert np.array_equal(pixels, decode(damaged, max_pixels=10**6))


def test_every_extension_of_what_is_decoded_is_known():
    """`IMAGE_EXTENSIONS` is written out, so that who counts captions need not load Pillow."""
    registered = Image.registered_extensions()
    ours = {extension.removeprefix(".") for extension, name in registered.items() if name in FORMATS}
    assert ours <= set(IMAGE_EXTENSIONS)
    assert {f".{extension}" for extension in IMAGE_EXTENSIONS} <= set(registered)
    assert len(set(IMAGE_EXTENSIONS)) == len(IMAGE_EXTENSIONS)
