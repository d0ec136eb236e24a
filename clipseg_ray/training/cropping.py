"""Augmentation: a random part of the image that still shows what is asked for, perhaps mirrored."""

from typing import NamedTuple

import numpy as np

ATTEMPTS = 50
FOREGROUND = 0.05
"""Share of the image's pixels that the mask must have inside the square; of the whole image, as the authors do."""


class View(NamedTuple):
    """A part of an image. mirrored: left and right change places."""

    rows: slice = slice(None)
    columns: slice = slice(None)
    mirrored: bool = False

    def of_image(self, pixels_hwc: np.ndarray) -> np.ndarray:
        """[h, w, 3] → [h', w', 3]."""
        cut_hwc = pixels_hwc[self.rows, self.columns]
        return np.ascontiguousarray(cut_hwc[:, ::-1]) if self.mirrored else cut_hwc

    def of_masks(self, masks_khw: np.ndarray) -> np.ndarray:
        """[k, h, w] → [k, h', w']."""
        cut_khw = masks_khw[:, self.rows, self.columns]
        return np.ascontiguousarray(cut_khw[:, :, ::-1]) if self.mirrored else cut_khw


def random_crop(
    mask_hw: np.ndarray,
    rng: np.random.Generator,
    scale: tuple[float, float] = (1.0, 1.0),
    *,
    square: bool = True,
) -> tuple[slice, slice]:
    """Rows and columns of a part: the first drawn with enough of the mask, else the best drawn.

    mask_hw: bool [h, w]. The part is a square, whose side as a share of min(h, w) is uniform between ``scale``; 1 is
    PhraseCut's. Or, not ``square``, it has the proportions of the image, of whose height and width the share is.
    """
    height, width = mask_hw.shape
    shorter, share = min(height, width), rng.uniform(*scale)
    rows, columns = (max(1, round(side * share)) for side in ((shorter, shorter) if square else (height, width)))
    inside = np.zeros((height + 1, width + 1), np.int64)
    np.cumsum(np.cumsum(mask_hw, 0, dtype=np.int64), 1, out=inside[1:, 1:])
    top_a = rng.integers(0, height - rows + 1, ATTEMPTS)
    left_a = rng.integers(0, width - columns + 1, ATTEMPTS)
    bottom_a, right_a = top_a + rows, left_a + columns
    found_a = inside[bottom_a, right_a] - inside[top_a, right_a] - inside[bottom_a, left_a] + inside[top_a, left_a]
    enough_a = found_a > FOREGROUND * height * width
    chosen = int(enough_a.argmax()) if enough_a.any() else int(found_a.argmax())
    top, left = int(top_a[chosen]), int(left_a[chosen])
    return slice(top, top + rows), slice(left, left + columns)
