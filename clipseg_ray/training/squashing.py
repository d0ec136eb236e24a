"""Pictures and masks at the model's size."""

import numpy as np
import torch
import torch.nn.functional as F


def squash_picture(pixels_hwc: np.ndarray, side: int) -> np.ndarray:
    """uint8 [h, w, 3] → uint8 [S, S, 3], bilinear and antialiased as pictures to be segmented are."""
    if pixels_hwc.shape[:2] == (side, side):
        return pixels_hwc
    pixels_bchw = torch.from_numpy(np.array(pixels_hwc))[None].permute(0, 3, 1, 2)
    resized = F.interpolate(pixels_bchw, (side, side), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def squash_masks(masks_khw: np.ndarray, side: int) -> np.ndarray:
    """bool [k, h, w] → bool [k, S, S]: pixels of which at least half was inside."""
    if masks_khw.shape[1:] == (side, side):
        return masks_khw
    inside = torch.from_numpy(np.array(masks_khw, np.float32))[:, None]
    return (F.interpolate(inside, (side, side), mode="area")[:, 0] >= 0.5).numpy()
