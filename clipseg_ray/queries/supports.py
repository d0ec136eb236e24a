"""Supports: a picture and the mask of what is meant in it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from clipseg_ray import json_text
from clipseg_ray.errors import UserError, brief
from clipseg_ray.pixels.opening import opened, upright_rgb
from clipseg_ray.redaction import redacted

MaskCell = str | dict[str, Any] | list[float]
"""A mask as the table gives it: the URL of a picture file, a COCO RLE, or a box [x, y, w, h] in pixels."""

_FAR = 1e9  # no picture is so large; NaN and infinity fail the comparison too


@dataclass(frozen=True, kw_only=True)
class Support:
    """One support picture of a query.

    url: where it was read, without secrets. picture_sha256: hex digest of the file's bytes. height, width: of the
    picture in pixels, its EXIF orientation applied. counts: the mask as COCO compressed RLE of that size; None for the
    whole picture. picture: the file's bytes; None in a query read back from a prompt set, which need not see it again.
    """

    url: str
    picture_sha256: str
    height: int
    width: int
    counts: str | None
    picture: bytes | None = field(default=None, repr=False, compare=False)

    @property
    def mask_sha256(self) -> str | None:
        """Hex digest of the mask's size and pixels, however the table gave them."""
        if self.counts is None:
            return None
        return hashlib.sha256(f"{self.height}x{self.width}:{self.counts}".encode()).hexdigest()

    def pixels(self) -> np.ndarray:
        """The picture: uint8 [h, w, 3]. Raises ValueError when its bytes are not at hand."""
        if self.picture is None:
            raise ValueError(f"{self.url}: the picture's bytes are not kept in a prompt set")
        return decode_picture(self.picture)

    def mask(self) -> np.ndarray | None:
        """The mask: bool [h, w]; None for the whole picture."""
        if self.counts is None:
            return None
        return _decode(self.counts, self.height, self.width)


def make_support(url: str, picture: bytes, mask: MaskCell | None, mask_file: bytes | None) -> Support:
    """A support from file contents; `mask_file` holds the bytes behind `mask` when that is a URL.

    Raises ValueError, worded for a person: undecodable picture or mask, other size, empty mask.
    """
    try:
        height, width = decode_picture(picture).shape[:2]
    except Exception as error:
        raise ValueError(f"picture {url} cannot be decoded ({brief(error, 160)})") from error
    counts = None
    if mask is not None:
        mask_hw = _mask(mask, mask_file, height, width)
        if not mask_hw.any():
            raise ValueError(f"mask {_shown(mask)} is empty: it marks nothing in picture {url}")
        counts = coco_mask.encode(np.asfortranarray(mask_hw, np.uint8))["counts"].decode()
    digest = hashlib.sha256(picture).hexdigest()
    return Support(url=redacted(url), picture_sha256=digest, height=height, width=width, counts=counts, picture=picture)


def decode_picture(data: bytes) -> np.ndarray:
    """Picture file bytes → uint8 [h, w, 3] in its own size, upright, as `pixels.decode` has it in exact mode.

    Raises `ImageError` for bytes that are no picture, or one that is too large.
    """
    with opened(data) as image:
        return np.asarray(upright_rgb(image)[0])


def parse_mask_cells(value: Any) -> list[MaskCell]:
    """The masks in one table cell: one, or a list of them. Raises ValueError, worded for a person."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            value = json_text.load(value)
        except ValueError:
            raise ValueError(f"{_shown(value)} is neither a path, a COCO RLE nor a box in valid JSON") from None
    if isinstance(value, list) and not _is_box(value):
        return [cell for item in value for cell in parse_mask_cells(item)]
    if isinstance(value, str) and value.strip():
        return [value.strip()]
    if isinstance(value, dict) and {"size", "counts"} <= value.keys():
        return [value]
    if isinstance(value, list):
        if len(value) != 4:
            raise ValueError(f"a box is [x, y, w, h], not {_shown(value)}")
        if not all(abs(number) < _FAR for number in value):
            raise ValueError(f"a box is [x, y, w, h] in pixels; {_shown(value)} is not")
        if all(abs(number) <= 1 for number in value):
            raise ValueError(
                f"a box is [x, y, w, h] in pixels; {_shown(value)}, where nothing is above 1, seems to be relative to "
                "the picture: multiply x and w by its width, y and h by its height"
            )
        return [[float(number) for number in value]]
    raise ValueError(
        f'a mask is a path, a COCO RLE {{"size": [h, w], "counts": …}} or a box [x, y, w, h], not {_shown(value)}'
    )


def _is_box(value: Sequence[Any]) -> bool:
    return bool(value) and all(isinstance(item, int | float) and not isinstance(item, bool) for item in value)


def _mask(mask: MaskCell, mask_file: bytes | None, height: int, width: int) -> np.ndarray:
    if isinstance(mask, list):
        x, y, w, h = mask
        mask_hw = np.zeros((height, width), bool)
        rows = slice(max(0, round(y)), max(0, round(y + h)))
        mask_hw[rows, max(0, round(x)) : max(0, round(x + w))] = True
        return mask_hw
    if isinstance(mask, dict):
        return _rle_mask(mask, height, width)
    if mask_file is None:
        raise ValueError(f"mask {mask} was not read")
    mask_hw = _file_mask(mask, mask_file)
    if mask_hw.shape != (height, width):
        raise _other_size(mask, mask_hw.shape, (height, width))
    return mask_hw


def _other_size(mask: MaskCell, mask_size: tuple[int, ...], picture_size: tuple[int, int]) -> ValueError:
    return ValueError(
        f"mask {_shown(mask)} is {mask_size[1]}×{mask_size[0]} pixels (width×height), its picture "
        f"{picture_size[1]}×{picture_size[0]}; they must be of one size"
    )


def _rle_mask(rle: dict[str, Any], height: int, width: int) -> np.ndarray:
    """bool [h, w] of the picture's size; another size, which may be mistyped, is not made into pixels."""
    try:
        own_height, own_width = (int(side) for side in rle["size"])
        if (own_height, own_width) == (height, width):
            return _decode(rle["counts"], height, width)
    except Exception as error:
        raise ValueError(f"mask {_shown(rle)} is no valid COCO RLE ({brief(error, 160)})") from error
    raise _other_size(rle, (own_height, own_width), (height, width))


def _decode(counts: Any, height: int, width: int) -> np.ndarray:
    """bool [h, w] from COCO's run lengths, compressed or as numbers. Raises ValueError for what are none."""
    if isinstance(counts, list):
        lengths = [int(length) for length in counts]
        if min(lengths) < 0 or sum(lengths) != height * width:
            raise ValueError(f"its runs cover {sum(lengths)} pixels, not {height}×{width}")
        return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(width, height).T
    from clipseg_ray.masks import rle  # compiled code: half a second that SQL on a dataset need not wait for

    try:
        return rle.decode([counts], height, width)[0]
    except UserError as error:
        raise ValueError(f"its counts are no runs of {height}×{width} pixels") from error


def _file_mask(url: str, data: bytes) -> np.ndarray:
    """A mask file's marked pixels: those not 0 (palette images: whose index is not 0); alpha is not looked at."""
    try:
        with opened(data) as image:
            kind, bands = image.format, image.getbands()
            values = np.asarray(image)
    except Exception as error:
        raise ValueError(f"mask {url} cannot be decoded ({brief(error, 160)})") from error
    if kind == "JPEG":
        raise ValueError(f"mask {url} is a JPEG, which has no exact edges; save it as PNG")
    if values.ndim == 3:
        values = np.any(values[..., : -1 if bands[-1] == "A" else None], axis=2)
    return np.not_equal(values, 0)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "…"
