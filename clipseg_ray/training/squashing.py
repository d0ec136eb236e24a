"""Images and masks at the model's size."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image


def squash_image(pixels_hwc: np.ndarray, side: int) -> np.ndarray:
    """uint8 [h, w, 3] → uint8 [S, S, 3], bilinear and antialiased as images to be segmented are."""
    if pixels_hwc.shape[:2] == (side, side):
        return pixels_hwc
    pixels_bchw = torch.from_numpy(np.array(pixels_hwc))[None].permute(0, 3, 1, 2)
    resized = F.interpolate(pixels_bchw, (side, side), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def squash_masks(masks_khw: np.ndarray, side: int) -> np.ndarray:
    """bool [k, h, w] → bool [k, S, S]: pixels of which at least half was inside."""
    if masks_khw.shape[1:] == (side, side):
        return masks_khw
    return _levels(masks_khw, side) >= 128


def cover(masks_khw: np.ndarray, patches: int) -> np.ndarray:
    """The share of each of patches² equal parts inside: bool [k, h, w] → float32 [k, patches²], steps of 1/255."""
    return (_levels(masks_khw, patches) / np.float32(255)).reshape(-1, patches**2)


def _levels(masks_khw: np.ndarray, side: int) -> np.ndarray:
    levels_kss = np.empty((len(masks_khw), side, side), np.uint8)
    for k, mask_hw in enumerate(masks_khw):
        # Decoded masks are column-major; those that Pillow drew hold True as 255, which only a comparison sees through.
        levels_wh = np.where(mask_hw.T, np.uint8(255), np.uint8(0))
        levels_kss[k] = np.asarray(Image.fromarray(levels_wh).resize((side, side), Image.Resampling.BOX)).T
    return levels_kss
