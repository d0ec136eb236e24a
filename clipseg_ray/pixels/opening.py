"""Encoded bytes opened as an image, or the final verdict that they are none. Knows no torch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np

# Importing a format's plugin registers it; without that the first WebP would import Pillow's forty others.
from PIL import (
    AvifImagePlugin,
    Image,
    TiffImagePlugin,
)  # fmt: skip

from clipseg_ray.pixels import kinds
from clipseg_ray.pixels.orientation import TRANSPOSES, read_orientation

MAX_PIXELS = 178_956_970
"""An image that declares more than this is refused: Pillow's own limit, 2 · (1 GiB / 4 / 3)."""

FORMATS = tuple(kind.format for kind in kinds.READ if kind is not kinds.HEIF)
"""What is read without more ado; HEIC with a library that is loaded when the first one comes."""

_DNG_VERSION, _NEW_SUBFILE_TYPE, _REDUCED = 50706, 254, 1
"""Tags of TIFF 6.0 and of DNG 1.6. A camera's raw file is a TIFF whose first picture is a reduced one."""

# Every image is decoded on one thread of its own.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# Large images, palettes with alpha and scruffy EXIF blocks make Pillow warn, once per place for millions of
# images. Nobody can act on it, and `catch_warnings` would not do inside threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


class ImageError(Exception):
    """Final verdict on bytes that are no image.

    `status` is "empty" (no bytes), "undecodable" (damaged, cut, or of no known format) or "too_large" (declares
    more than `MAX_PIXELS`); `message` says what was found.
    """

    def __init__(self, status: Literal["empty", "undecodable", "too_large"], message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message

    def __str__(self) -> str:
        return self.message


def _begun(data: bytes) -> str | None:
    """The format as which the first bytes can be told, whatever follows them."""
    return next((name for name in FORMATS if (begins := Image.OPEN[name][1]) and begins(data[:16]) is True), None)


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """The image, its size checked and its pixels not read yet; what goes wrong inside is a verdict too.

    Raises `ImageError`, and nothing else, for bytes that are no image. `MemoryError` passes through: it is about
    the machine, not about the bytes.
    """
    if not data:
        raise ImageError("empty", "the file has no bytes")
    with _judged(data):
        image = Image.open(io.BytesIO(data), formats=_formats(data))
        _refuse_preview(image)
        _refuse_large(image)
        yield image


@contextmanager
def handed(image: Image.Image) -> Iterator[Image.Image]:
    """The same for an image that a program has opened or made, by whatever way of its own."""
    with _judged(b""):
        _refuse_large(image)
        yield image


@contextmanager
def _judged(data: bytes) -> Iterator[None]:
    """What goes wrong inside with an image of these bytes, where they are known, as an `ImageError`."""
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError("too_large", f"too many pixels: {error}") from error
    except Image.UnidentifiedImageError as error:
        if name := _begun(data):
            raise ImageError("undecodable", f"damaged {name} image: its header is broken or cut") from error
        message = f"no JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF image: it is {kinds.detected(data)}"
        hint = f" ({kinds.HEIF_HINT})" if kinds.is_heif(data) and not kinds.HEIF.is_read else ""
        raise ImageError("undecodable", message + hint) from error
    except MemoryError:
        raise
    except Exception as error:
        raise ImageError("undecodable", f"damaged picture: {error or type(error).__name__}") from error


def _formats(data: bytes) -> tuple[str, ...]:
    if not kinds.is_heif(data) or not kinds.HEIF.is_read:
        return FORMATS
    import pillow_heif

    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.register_heif_opener()
    return (kinds.HEIF.format,)


def _refuse_large(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError(f"{image.width}×{image.height} pixels, the limit is {MAX_PIXELS}")


def _refuse_preview(image: Image.Image) -> None:
    if isinstance(image, TiffImagePlugin.TiffImageFile) and (
        _DNG_VERSION in image.tag_v2 or int(image.tag_v2.get(_NEW_SUBFILE_TYPE, 0)) & _REDUCED
    ):
        raise ImageError("undecodable", "a camera's raw file, of which only a small preview can be read; develop it")


def upright_rgb(image: Image.Image) -> tuple[Image.Image, int]:
    """An opened image in RGB, turned upright, and the EXIF orientation it had (1 to 8; 1 if there is none).

    Raises ImageError for pixels of 32 bits, which would be clipped: nobody knows their range.
    """
    image.load()
    # After loading: a PNG may keep its EXIF behind the pixels, and a TIFF and HEIC are upright now.
    orientation = read_orientation(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ImageError("undecodable", "its pixels are numbers of 32 bits, of no known range; convert them to 8 bits")
    if orientation in TRANSPOSES:
        image = image.transpose(TRANSPOSES[orientation])
    return image.convert("RGB"), orientation
