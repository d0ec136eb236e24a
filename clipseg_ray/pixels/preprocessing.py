"""What a checkpoint's `preprocessor_config.json` asks for, reduced to what CLIPSeg can use."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from clipseg_ray.errors import UserError

BILINEAR = 2
RESAMPLING_CODES = range(6)
"""PIL's codes: nearest 0, lanczos 1, bilinear 2, bicubic 3, box 4, hamming 5."""

MAX_SIDE = 4096
"""Pixels of a square input's side, at most: 48 MiB an image. CLIPSeg's own is 352."""

_FILE = "preprocessor_config.json"


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From an RGB image of any size to the model's input: squash, rescale, normalise.

    The input of the model is `(pixels_hwc * rescale - mean) / std`, with `pixels_hwc` uint8 of `size`×`size`×3.
    """

    size: int
    """Side of the model's input in pixels. Images are squashed to a square: CLIPSeg is right for no other shape."""
    resample: int
    """PIL's code of the resampling filter, one of `RESAMPLING_CODES`."""
    rescale: float
    """What a uint8 level is multiplied by, usually 1/255."""
    mean: tuple[float, float, float]
    """Per channel R, G, B, subtracted after rescaling."""
    std: tuple[float, float, float]
    """Per channel R, G, B, divided by after subtracting the mean."""

    @classmethod
    def from_config(cls, preprocessor_config: dict[str, Any]) -> Preprocessing:
        """Read the content of a `preprocessor_config.json`.

        `size` may be a number, `{"height", "width"}` or `{"shortest_edge"}`. `size`, `image_mean` and
        `image_std` must be there: transformers' own defaults for them are not what CLIPSeg was trained with.
        Absent switches count as on, an absent `resample` as bilinear and an absent `rescale_factor` as
        1/255, which are transformers' defaults and what older checkpoints leave out.

        Raises `UserError` naming the key that is missing or asks for something CLIPSeg cannot use.
        """
        for key in ("do_resize", "do_rescale", "do_normalize"):
            if preprocessor_config.get(key, True) is not True:
                raise _fault(key, f"is {preprocessor_config[key]!r}", "it must be true")
        for key in ("do_center_crop", "do_pad"):
            if preprocessor_config.get(key):
                raise _fault(key, f"is {preprocessor_config[key]!r}", "images are squashed, it must be false")
        for key in ("size", "image_mean", "image_std"):
            if preprocessor_config.get(key) is None:
                raise _fault(key, "is missing", "add it to the checkpoint")
        resample = preprocessor_config.get("resample", BILINEAR)
        if not isinstance(resample, int) or isinstance(resample, bool) or resample not in RESAMPLING_CODES:
            raise _fault("resample", f"is {resample!r}", "it must be one of PIL's codes 0 to 5")
        rescale = preprocessor_config.get("rescale_factor", 1 / 255)
        if not _is_number(rescale) or rescale <= 0:
            raise _fault("rescale_factor", f"is {rescale!r}", "it must be a positive number such as 1/255")
        std = _triple(preprocessor_config, "image_std")
        if min(std) <= 0:
            raise _fault("image_std", f"is {list(std)!r}", "every number must be positive")
        return cls(
            size=_square_side(preprocessor_config["size"]),
            resample=resample,
            rescale=float(rescale),
            mean=_triple(preprocessor_config, "image_mean"),
            std=std,
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object, floats unrounded; `from_json` gives back an equal object."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> Preprocessing:
        """The inverse of `to_json`."""
        return cls(**(d | {"mean": tuple(d["mean"]), "std": tuple(d["std"])}))


def _fault(key: str, found: str, wanted: str) -> UserError:
    return UserError(f"{_FILE}: {key} {found}; {wanted}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _triple(config: dict[str, Any], key: str) -> tuple[float, float, float]:
    value = config[key]
    if not isinstance(value, list | tuple) or len(value) != 3 or not all(map(_is_number, value)):
        raise _fault(key, f"is {value!r}", "it must be three numbers (R, G, B)")
    red, green, blue = value
    return float(red), float(green), float(blue)


def _square_side(size: object) -> int:
    side = size
    if isinstance(size, dict):
        keys = {key for key, value in size.items() if value is not None}
        if keys == {"height", "width"}:
            if size["height"] != size["width"]:
                raise _fault("size", f"is {size!r}", "CLIPSeg takes square inputs only")
            side = size["height"]
        elif keys == {"shortest_edge"}:
            side = size["shortest_edge"]
    if not isinstance(side, int) or isinstance(side, bool) or side <= 0:
        raise _fault("size", f"is {size!r}", 'it must be a number, {"height", "width"} or {"shortest_edge"}')
    if side > MAX_SIDE:
        raise _fault("size", f"is {size!r:.80}", f"it must be at most {MAX_SIDE} pixels")
    return side
