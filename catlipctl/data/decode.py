"""An image's bytes to an RGB picture, or a clear refusal: whatever a web crawl holds is normal input."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from catlipctl.errors import DataError

MAX_PIXELS = 89_478_485
"""Pillow's own bound: a quarter of a gigabyte as RGB."""

Image.init()
# Raster formats only: Pillow would hand EPS to Ghostscript, and reads many more that no data set holds.
FORMATS = tuple(
    name
    for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "MPO", "JPEG2000", "PPM", "ICO")
    if name in Image.OPEN
)
ORIENTED = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}

# Pillow warns of size, broken EXIF and palettes, picture by picture; here it is refused, mended or counted.
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnreadableImage(DataError):
    """Bytes that are no image, a damaged one, or one too large."""


def decode(image: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The RGB picture: first frame, upright by EXIF, transparency on white, any colour mode.

    The size is checked before a pixel is decoded. Raises UnreadableImage.
    """
    with _refusing():
        picture = _opened(image, max_pixels)
        picture.load()
        return _rgb(_upright(picture))


def decode_jpeg(image: bytes, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8] | None:
    """The pixels of an upright RGB JPEG, uint8 `[H, W, 3]`: those of `decode`, in about half the time.

    None of any other image, and of one that libjpeg-turbo has something to say about: `decode` judges these.
    Raises UnreadableImage where the header is already reason enough.
    """
    if not image.startswith(b"\xff\xd8"):
        return None
    with _refusing():
        picture = _opened(image, max_pixels)
        if picture.format != "JPEG" or picture.mode != "RGB" or _is_turned(picture):
            return None
        try:
            return simplejpeg.decode_jpeg(image)
        except ValueError:
            return None


@contextmanager
def _refusing() -> Iterator[None]:
    """Whatever a reader raises becomes UnreadableImage."""
    try:
        yield
    except (UnreadableImage, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImage("not an image of a known format") from error
    except Image.DecompressionBombError as error:  # Pillow's own, at twice its bound
        raise UnreadableImage(f"image of far more than {MAX_PIXELS:,} pixels") from error
    except Exception as error:
        # Pillow's readers raise nearly anything on damaged bytes: struct.error, KeyError, zlib.error, ...
        raise UnreadableImage(f"damaged image: {error}") from error


def _opened(image: bytes, max_pixels: int) -> Image.Image:
    """The picture with its header read and its size checked, no pixel decoded."""
    if not image:
        raise UnreadableImage("not an image: 0 bytes")
    picture = Image.open(io.BytesIO(image), formats=FORMATS)
    width, height = picture.size
    if width * height > max_pixels:
        raise UnreadableImage(f"image of {width:,} x {height:,} pixels is above {max_pixels:,}")
    return picture


def _is_turned(picture: Image.Image) -> bool:
    """Whether EXIF or XMP may have `_upright` turn it."""
    if ORIENTED.isdisjoint(picture.info):
        return False
    try:
        return picture.getexif().get(ExifTags.Base.Orientation, 1) != 1
    except Exception:
        return True


def _upright(picture: Image.Image) -> Image.Image:
    if ORIENTED.isdisjoint(picture.info) and picture.format != "TIFF":
        return picture
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:
        # Broken EXIF is common, and no reason to lose the picture.
        return picture


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        white.alpha_composite(picture)
        return white.convert("RGB")
    if picture.mode == "F" or picture.mode.startswith("I"):
        picture = _eight_bits(picture)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """A grey picture of more than 8 bits, scaled from 16; Pillow's own conversion would clip it to white."""
    values = np.asarray(picture).clip(0, 65_535)
    return Image.fromarray((values / 257).round().astype(np.uint8))
