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
        start = data[:12].decode("ascii", "backslashreplace")
        raise ImageError("undecodable", f"no JPEG, PNG, WebP or GIF picture: it starts with {start!r}") from error
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
