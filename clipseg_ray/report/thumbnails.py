"""Images made small enough that all of them together fit a number of bytes."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image

from clipseg_ray.pixels.opening import ImageError, opened, upright_rgb
from clipseg_ray.pixels.orientation import swaps_axes

SIDES = (512, 416, 352, 288, 240, 200, 160, 128)
"""Longer sides to choose from, in pixels; the largest that fits is taken."""

QUALITY = 74
_PROBE = 24
"""Images that show which side will do, before all are made."""


@dataclass(frozen=True)
class Thumbnail:
    """A small WebP, and the size of the whole image it shows: pixels, upright."""

    webp: bytes
    width: int
    height: int


def fitting(images: Iterable[bytes | Exception], total_bytes: int) -> list[Thumbnail | None]:
    """Thumbnails of all images, in order, with the largest of ``SIDES`` at which they fit ``total_bytes``.

    None stands for what is no image or could not be had and, where even the smallest side is too much, for the last
    images. One image at a time is held at its own size.
    """
    drafts = [_draft(image) for image in images]
    made: list[Thumbnail | None] = []
    for side in SIDES:
        made = [_at(each, side) for each in drafts[:_PROBE]]
        if side != SIDES[-1] and _bytes(made) * len(drafts) > total_bytes * max(1, len(made)):
            continue
        made += [_at(each, side) for each in drafts[_PROBE:]]
        if _bytes(made) <= total_bytes:
            break
    left = total_bytes
    for index, each in enumerate(made):
        left -= len(each.webp) if each else 0
        if left < 0:
            made[index] = None
    return made


@dataclass(frozen=True)
class _Draft:
    """An image at the largest of ``SIDES``, as a JPEG: quick to write, and small enough to keep them all."""

    jpeg: bytes
    width: int
    height: int


def _at(draft: _Draft | None, side: int) -> Thumbnail | None:
    if draft is None:
        return None
    with Image.open(io.BytesIO(draft.jpeg)) as image:
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=None)
        sink = io.BytesIO()
        image.save(sink, "WEBP", quality=QUALITY, method=4)
    return Thumbnail(sink.getvalue(), draft.width, draft.height)


def _draft(encoded: bytes | Exception) -> _Draft | None:
    if isinstance(encoded, Exception):
        return None
    try:
        with opened(encoded) as image:
            width, height = image.size
            # A JPEG decodes at 1/2, 1/4 or 1/8 for a fraction of the time; twice the size wanted keeps it sharp.
            image.draft("RGB", (2 * SIDES[0], 2 * SIDES[0]))
            rgb, orientation = upright_rgb(image)
    except ImageError:
        return None
    if swaps_axes(orientation):
        width, height = height, width
    rgb.thumbnail((SIDES[0], SIDES[0]), Image.Resampling.LANCZOS, reducing_gap=None)
    sink = io.BytesIO()
    rgb.save(sink, "JPEG", quality=92, subsampling=0)
    return _Draft(sink.getvalue(), width, height)


def _bytes(made: list[Thumbnail | None]) -> int:
    return sum(len(each.webp) for each in made if each)
