"""EXIF orientation: which way up the camera was held (EXIF 2.32, tag 0x0112)."""

from __future__ import annotations

import numpy as np
from PIL import ExifTags, Image

TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a stored image upright, by tag value; 1 needs nothing."""


def read_orientation(image: Image.Image) -> int:
    """The tag's value, 1 to 8; 1 where there is none, where it makes no sense or the EXIF block is broken.

    EXIF comes first, then XMP's `tiff:Orientation`, as `PIL.ImageOps.exif_transpose` reads them. A broken
    EXIF block says nothing about the pixels, so it is no reason to refuse the image.
    """
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
        return int(value) if value in TRANSPOSES else 1
    except Exception:
        return 1


def swaps_axes(orientation: int) -> bool:
    """Whether the upright image's width is the stored image's height."""
    return orientation >= 5


def upright(pixels_hwc: np.ndarray, orientation: int) -> np.ndarray:
    """A stored image turned upright, as a C-contiguous array."""
    if swaps_axes(orientation):
        pixels_hwc = pixels_hwc.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels_hwc = pixels_hwc[::-1]
    if orientation in (2, 3, 6, 7):
        pixels_hwc = pixels_hwc[:, ::-1]
    return np.ascontiguousarray(pixels_hwc)
