"""Encoded image bytes to uint8 RGB at the model's size, of every kind of `kinds`.

What an image means here is what transformers' `load_image` makes of it:

- The EXIF orientation is applied; widths and heights are those of the upright image.
- Alpha is dropped, not blended: a transparent pixel keeps the colour stored under it, as `convert("RGB")` does.
- Of an animation the first frame counts.
- CMYK JPEGs, Adobe's inverted ones among them, become RGB by Pillow's formula, without colour profiles.

Two things differ on purpose: 16-bit greyscale is scaled to 8 bits by its high byte, as Pillow itself does for
16-bit RGB, and greyscale of 32 bits is refused. `convert("RGB")` would clip both, which leaves a white or black image.

Two modes, with the same verdict on every input. `exact` is Pillow throughout and bit-identical to transformers'
PIL image processor. `fast` decodes JPEGs with simplejpeg and resizes them with torch's antialiased uint8 kernel:
at most one level off, in a third to half of the time. What simplejpeg refuses or warns about goes Pillow's way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import simplejpeg
from PIL import Image

from clipseg_ray.pixels.opening import ImageError, handed, opened, upright_rgb
from clipseg_ray.pixels.orientation import read_orientation, swaps_axes, upright
from clipseg_ray.pixels.preprocessing import BILINEAR, Preprocessing
from clipseg_ray.pixels.views import Views, side_of

if TYPE_CHECKING:  # loaded where pixels are resized: a second that a plan, which decodes nothing, does without
    import torch

Mode = Literal["fast", "exact"]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """A decoded image at the model's size, and what it was before."""

    pixels_hwc: np.ndarray
    """uint8 of shape (S, S, 3), RGB, C-contiguous."""
    width: int
    """Pixels of the upright image."""
    height: int
    """Pixels of the upright image."""
    orientation: int
    """The EXIF tag's value, 1 to 8; 1 if there is none. Already applied."""
    large_hwc: np.ndarray | None = None
    """The same at a multiple of S, uint8 (T, T, 3), where its views have tiles; made from the image, not from S."""


def decode(data: bytes, preprocessing: Preprocessing, mode: Mode = "fast", views: Views | None = None) -> DecodedImage:
    """Decode one image, turn it upright and squash it to the model's size, and to what its views are cut from.

    Raises `ImageError`, and nothing else, for bytes that are no image. The size is checked before pixels are
    allocated. `MemoryError` passes through: it is about the machine, not about the bytes.
    """
    with opened(data) as image:
        if mode == "fast" and (decoded := _decode_fast(data, image, preprocessing, views)):
            return decoded
        return _decode_exact(image, preprocessing, views)


def squash(image: Image.Image, preprocessing: Preprocessing, views: Views | None = None) -> DecodedImage:
    """The same, in exact mode, for an image that a program has opened or made. Raises `ImageError`."""
    with handed(image):
        return _decode_exact(image, preprocessing, views)


def decode_all(
    samples: Iterable[T],
    get_bytes: Callable[[T], bytes],
    preprocessing: Preprocessing,
    mode: Mode = "fast",
    threads: int = 1,
    *,
    views: Views | None = None,
) -> Iterator[tuple[T, DecodedImage | ImageError]]:
    """Decode a stream of samples on several threads; each comes out with its verdict, in the order it came in.

    `samples` is read from the caller's thread, never more than 2·`threads` + 1 ahead of what was taken out. One
    thread means the caller's own and no pool. What `samples` raises passes through, and so does anything
    `get_bytes` raises; an `ImageError` from there is that sample's verdict.
    """

    def verdict(sample: T) -> DecodedImage | ImageError:
        try:
            return decode(get_bytes(sample), preprocessing, mode, views)
        except ImageError as error:
            # A new one: the raised one holds the frames it came through, and with them the encoded bytes.
            return ImageError(error.status, error.message)

    if threads == 1:
        for sample in samples:
            yield sample, verdict(sample)
        return
    import torch

    # Each thread works on an image of its own; a torch pool inside every one of them would fight for the cores.
    pool = ThreadPoolExecutor(threads, "decode", initializer=torch.set_num_threads, initargs=(1,))
    try:
        window: deque[tuple[T, Future[DecodedImage | ImageError]]] = deque()
        for sample in samples:
            window.append((sample, pool.submit(verdict, sample)))
            if len(window) > 2 * threads:
                first, future = window.popleft()
                yield first, future.result()
        while window:
            first, future = window.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_exact(image: Image.Image, preprocessing: Preprocessing, views: Views | None) -> DecodedImage:
    rgb, orientation = upright_rgb(image)
    width, height = rgb.size

    def squashed(side: int) -> np.ndarray:
        return np.array(rgb.resize((side, side), resample=preprocessing.resample))

    return _of_views(squashed, width, height, orientation=orientation, size=preprocessing.size, views=views)


def _of_views(
    squashed: Callable[[int], np.ndarray], width: int, height: int, *, orientation: int, size: int, views: Views | None
) -> DecodedImage:
    """``squashed``: side → the upright image at that size."""
    side = side_of(views, width, height, size)
    return DecodedImage(
        pixels_hwc=squashed(size),
        width=width,
        height=height,
        orientation=orientation,
        large_hwc=squashed(side) if side > size else None,
    )


def _decode_fast(
    data: bytes, image: Image.Image, preprocessing: Preprocessing, views: Views | None
) -> DecodedImage | None:
    """Decode what simplejpeg takes without a murmur; None for everything else."""
    if image.format not in ("JPEG", "MPO") or image.mode not in ("RGB", "L") or preprocessing.resample != BILINEAR:
        return None
    width, height = image.size
    # A buffer of the size already checked, so that a second, larger header cannot ask for more.
    stored_hwc = np.empty((height, width, 3), np.uint8)
    try:
        decoded_hwc = simplejpeg.decode_jpeg(data, "RGB", buffer=stored_hwc, strict=True)
    except ValueError:
        return None
    if decoded_hwc.shape != stored_hwc.shape:
        return None
    orientation = read_orientation(image)
    swapped = swaps_axes(orientation)

    def squashed(side: int) -> np.ndarray:
        return upright(_squash(stored_hwc, side, swapped), orientation)

    if swapped:
        width, height = height, width
    return _of_views(squashed, width, height, orientation=orientation, size=preprocessing.size, views=views)


def _squash(pixels_hwc: np.ndarray, side: int, transposed: bool) -> np.ndarray:
    """Resize to side×side with torch's antialiased bilinear kernel, its two passes in Pillow's order.

    Both round to uint8 between the passes, so their order decides most of the levels that differ: 20 % of them
    with the wrong one, under 2 % with the right one. torch always squashes the width first, Pillow ≥ 13 the
    height if that shrinks much more (python-pillow/Pillow#9549). Pillow sees the upright image; `transposed`
    says that its width is this one's height.
    """
    import torch

    height, width = pixels_hwc.shape[:2]
    upright_height, upright_width = (width, height) if transposed else (height, width)
    pillow_height_first = upright_height > side and 2 * upright_width < upright_height + side
    # Viewed as 1×H×W×C first: only then does torch see channels-last strides and take its fast kernel.
    pixels_bchw = torch.from_numpy(pixels_hwc).view(1, height, width, 3).permute(0, 3, 1, 2)
    if pillow_height_first != transposed:
        pixels_bchw = _interpolate(pixels_bchw, side, width)
    return _interpolate(pixels_bchw, side, side)[0].permute(1, 2, 0).numpy()


def _interpolate(pixels_bchw: torch.Tensor, height: int, width: int) -> torch.Tensor:
    import torch

    return torch.nn.functional.interpolate(pixels_bchw, (height, width), mode="bilinear", antialias=True)
