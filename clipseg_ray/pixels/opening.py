"""Encoded bytes opened as an image, or the final verdict that they are none. Knows no torch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np

# Importing a format's plugin registers it; without that the first WebP would import Pillow's forty others.
from PIL import GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: F401

from clipseg_ray.pixels.orientation import TRANSPOSES, read_orientation

MAX_PIXELS = 178_956_970
"""An image that declares more than this is refused: Pillow's own limit, 2 · (1 GiB / 4 / 3)."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")

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


_SIGNATURES = (
    (b"%PDF-", "a PDF file"), (b"PK\x03\x04", "a ZIP archive"), (b"\x1f\x8b", "gzip data"),
    (b"\x7fELF", "a program"), (b"BM", "a BMP image"), (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"), (b"PAR1", "a Parquet file"), (b"SQLite format 3", "a database"),
)  # fmt: skip


def detected(data: bytes) -> str:
    """What kind of data this is, in words that show none of it."""
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    start = data[:1024].lstrip()
    if data[4:12] in (b"ftypavif", b"ftypheic"):
        return "an AVIF or HEIC image"
    if start[:1] == b"<":
        return "HTML, XML or SVG text"
    if not data.strip(b"\x00"):
        return "zeros"
    try:
        start.decode()
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:
            return "data of no known kind"
    return "text"


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
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError(f"{image.width}×{image.height} pixels, the limit is {MAX_PIXELS}")
        yield image
    except Image.DecompressionBombError as error:
        raise ImageError("too_large", f"too many pixels: {error}") from error
    except Image.UnidentifiedImageError as error:
        if name := _begun(data):
            raise ImageError("undecodable", f"damaged {name} image: its header is broken or cut") from error
        raise ImageError("undecodable", f"no JPEG, PNG, WebP or GIF image: it is {detected(data)}") from error
    except MemoryError:
        raise
    except Exception as error:
        raise ImageError("undecodable", f"damaged picture: {error or type(error).__name__}") from error


def upright_rgb(image: Image.Image) -> tuple[Image.Image, int]:
    """An opened image in RGB, turned upright, and the EXIF orientation it had (1 to 8; 1 if there is none)."""
    image.load()
    orientation = read_orientation(image)  # after loading: a PNG may keep its EXIF behind the pixels
    if image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if orientation in TRANSPOSES:
        image = image.transpose(TRANSPOSES[orientation])
    return image.convert("RGB"), orientation
