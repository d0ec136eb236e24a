"""Truth from label maps: images whose pixels are the numbers of classes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.releases.release import Drawn, DrawnMask, Picture, Size, read
from clipseg_ray.evaluation.truth import Thing
from clipseg_ray.pixels.opening import ImageError, opened

_MODES = ("1", "L", "P", "I", "I;16")
_IGNORED = 255
"""The number of what counts for nothing, by custom, unless it is a class's."""


@dataclass(frozen=True, kw_only=True)
class LabelMaps:
    """Draws a picture's label map, whose URL is its records.

    things: by number. background: numbers of what is no thing. ignore_unnamed: numbers of neither count for nothing
    instead of being an error. smallest: pixels of a thing for it to be asked of the image; with fewer it is neither
    there nor absent.
    """

    things: Mapping[int, Thing]
    background: frozenset[int] = frozenset()
    ignore_unnamed: bool = False
    smallest: int = 1

    def __call__(self, picture: Picture, size: Size) -> Drawn:
        label_hw = _numbers(picture.records, size)
        area_k = np.bincount(label_hw.reshape(-1))
        held = np.flatnonzero(area_k).tolist()
        ignored = [number for number in held if number not in self.things and number not in self.background]
        if strange := [number for number in ignored if number != _IGNORED and not self.ignore_unnamed]:
            raise UserError(
                f"{picture.records}: the number {strange[0]} is no class's; name it, or give --ignore-unnamed"
            )
        found = [number for number in held if number in self.things]
        asked = [number for number in found if area_k[number] >= self.smallest]
        absent = None
        if len(asked) < len(found):
            absent = [thing for number, thing in self.things.items() if number not in found]
        return Drawn(
            [DrawnMask(self.things[number], label_hw == number) for number in asked],
            absent,
            np.isin(label_hw, ignored) if ignored else None,
        )


def digest(pictures: Sequence[Picture], sizes: Sequence[int], *texts: str) -> str:
    """SHA-256 of the pictures' names, of their label maps' ``sizes`` in bytes and of ``texts``: what a folder says of
    itself without being read."""
    lines = [f"{picture.key} {size}" for picture, size in zip(pictures, sizes, strict=True)]
    return hashlib.sha256("\n".join([*texts, *lines]).encode()).hexdigest()


def _numbers(url: str, size: Size) -> np.ndarray:
    """uint16 [height, width]."""
    try:
        with opened(read(url)) as image:
            if image.mode not in _MODES:
                raise UserError(f"{url}: no label map: its pixels are {image.mode}, not numbers of classes")
            label_hw = np.asarray(image)
    except ImageError as error:
        raise UserError(f"{url}: {error}") from error
    if label_hw.shape != size:
        raise UserError(
            f"{url}: {label_hw.shape[1]}×{label_hw.shape[0]} pixels (width×height), its image has {size[1]}×{size[0]}"
        )
    if label_hw.min() < 0 or label_hw.max() > 65535:
        raise UserError(f"{url}: no label map: it has numbers outside 0…65535")
    return label_hw.astype(np.uint16)
