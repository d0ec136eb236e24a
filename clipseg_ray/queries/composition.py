"""Image prompts: a support picture and its mask made into the one picture that CLIP's image tower sees."""

import numpy as np

from clipseg_ray.pixels.preprocessing import Preprocessing
from clipseg_ray.queries.canvas import Canvas
from clipseg_ray.queries.modes import Mode
from clipseg_ray.queries.published_canvas import PublishedCanvas
from clipseg_ray.queries.supports import Support


def compose_support(support: Support, mode: Mode | None, preprocessing: Preprocessing) -> np.ndarray:
    """`compose` for a support: float32 [3, S, S]."""
    if mode is None:
        raise ValueError("a query with pictures has a mode")
    return compose(support.pixels(), support.mask(), mode, preprocessing)


def compose(
    picture_hwc: np.ndarray, mask_hw: np.ndarray | None, mode: Mode, preprocessing: Preprocessing
) -> np.ndarray:
    """Picture (uint8 [h, w, 3]) and mask (bool [h, w], not empty) → normalised float32 [3, S, S].

    Raises ValueError where there is no mask and the mode needs one.
    """
    if mask_hw is None:
        if mode.needs_mask:
            raise ValueError(f"mode {mode.name} needs a mask")
        mask_hw = np.ones(picture_hwc.shape[:2], bool)
    canvas = PublishedCanvas if mode.published else Canvas
    return mode.compose(canvas(picture_hwc, mask_hw, preprocessing)).numpy()
