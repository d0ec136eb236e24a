"""Image prompts: a support picture and its mask made into the one picture that CLIP's image tower sees.

The modes are those the paper compares (CLIPSeg, section 4.3 and table 2), computed from their definitions on the
*normalised* picture, where 0 is the mean colour: what is darkened fades to it.

Every picture is first squashed to the model's size S, as pictures to be segmented are. Two things depart from a
literal reading, and neither does anything to a picture that is S×S already. Modes that crop keep the picture in
its own size and shape (at most 4·S), so that a small thing in a large photo stays sharp; the blur is still that of
the picture at S×S. And masks are resized to shares between 0 and 1, so that nothing thin gets lost.
"""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from clipseg_ray.pixels.preprocessing import Preprocessing
from clipseg_ray.queries.modes import Mode
from clipseg_ray.queries.supports import Support

KERNEL = 15
"""Side of the Gaussian kernel in pixels, whatever its sigma."""

_CROPPED_FROM = 4
_RED = (1.0, 0.0, 0.0)
_DYE = (1.0, 0.2, 0.2)
_LUMA = (0.299, 0.587, 0.114)


def compose_support(support: Support, mode: Mode | None, preprocessing: Preprocessing) -> np.ndarray:
    """`compose` for a support: float32 [3, S, S]."""
    if mode is None:
        raise ValueError("a query with pictures has a mode")
    return compose(support.pixels(), support.mask(), mode, preprocessing)


def compose(
    picture_hwc: np.ndarray, mask_hw: np.ndarray | None, mode: Mode, preprocessing: Preprocessing
) -> np.ndarray:
    """Picture (uint8 [h, w, 3]) and mask (bool [h, w], not empty) → normalised float32 [3, S, S].

    With m the mask, b ``background``, blur a Gaussian of ``sigma`` pixels at S×S in a 15×15 kernel:

    - overlay, highlight, blur_highlight, blur3_highlight, blur3_highlight01: ``img·m + b·blur(img)·(1 − m)``.
    - crop, crop_blur_highlight: the same, then the mask's box widened on each side by ``context`` × its own
      extent, clipped to the picture, padded to a square with 0, resized to S.
    - outline_red: a red line of ``width`` pixels along the mask's border.
    - box_red: the mask's box, widened as above, in red lines of ``width`` pixels.
    - colourised: the picture in grey, the object dyed red, the rest times b.
    - greyscale: the object in its colours, the rest in grey times b.
    - whole: the picture as it is; no mask is needed.
    """
    squashed_chw = _normalised(
        _resized(picture_hwc, preprocessing.size, preprocessing.size, preprocessing), preprocessing
    )
    if not mode.needs_mask:
        return squashed_chw.numpy()
    if mask_hw is None:
        raise ValueError(f"mode {mode.name} needs a mask")
    mask_11hw = torch.from_numpy(np.ascontiguousarray(mask_hw, np.float32))[None, None]
    if mode.name.startswith("crop"):
        return _crop_mode(picture_hwc, mask_11hw, squashed_chw, mode, preprocessing).numpy()
    share_hw = _interpolate(mask_11hw, preprocessing.size, preprocessing.size)[0, 0]
    if "sigma" in mode:
        soft_chw = gaussian_blur(squashed_chw, mode["sigma"])
        return _blend(squashed_chw, share_hw, soft_chw, mode["background"]).numpy()
    return _painted(squashed_chw, share_hw, mode, preprocessing).numpy()


def gaussian_blur(pixels_chw: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur with a 15×15 Gaussian, mirrored at the borders without repeating them; sigma 0 leaves all as it is."""
    if sigma == 0:
        return pixels_chw
    offsets = torch.arange(KERNEL, dtype=torch.float64) - KERNEL // 2
    taps = torch.exp(-(offsets**2) / (2 * sigma**2))
    taps = (taps / taps.sum()).to(pixels_chw.dtype)
    padded = F.pad(pixels_chw[:, None], (KERNEL // 2,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))[:, 0]


def widened_box(mask_hw: torch.Tensor, context: float) -> tuple[int, int, int, int]:
    """The box of the marked pixels widened by `context` × its extent on each side, clipped: x0, y0, x1, y1.

    Ends are exclusive and fractions are cut off, as in the authors' code. Raises ValueError for an empty mask.
    """
    rows, columns = (torch.nonzero(mask_hw.amax(axis)).flatten().tolist() for axis in (1, 0))
    if not rows:
        raise ValueError("the mask is empty")
    height, width = mask_hw.shape
    x0, x1, y0, y1 = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    wide, high = context * (x1 - x0), context * (y1 - y0)
    return int(max(0, x0 - wide)), int(max(0, y0 - high)), int(min(width, x1 + wide)), int(min(height, y1 + high))


def _blend(pixels_chw: torch.Tensor, share_hw: torch.Tensor, soft_chw: torch.Tensor, background: float) -> torch.Tensor:
    return pixels_chw * share_hw + background * soft_chw * (1 - share_hw)


def _crop_mode(
    picture_hwc: np.ndarray,
    mask_11hw: torch.Tensor,
    squashed_chw: torch.Tensor,
    mode: Mode,
    preprocessing: Preprocessing,
) -> torch.Tensor:
    size = preprocessing.size
    height, width = picture_hwc.shape[:2]
    shrink = min(1.0, _CROPPED_FROM * size / max(height, width))
    height, width = max(1, round(height * shrink)), max(1, round(width * shrink))
    pixels_chw = _normalised(_resized(picture_hwc, height, width, preprocessing), preprocessing)
    share_hw = _interpolate(mask_11hw, height, width)[0, 0]
    soft_chw = _interpolate(gaussian_blur(squashed_chw, mode["sigma"])[None], height, width)[0]
    blended_chw = _blend(pixels_chw, share_hw, soft_chw, mode["background"])
    x0, y0, x1, y1 = widened_box(share_hw, mode["context"])
    cut_chw = blended_chw[:, y0:y1, x0:x1]
    side = max(cut_chw.shape[1:])
    left, top = (side - cut_chw.shape[2]) // 2, (side - cut_chw.shape[1]) // 2
    padding = (left, side - cut_chw.shape[2] - left, top, side - cut_chw.shape[1] - top)
    return _interpolate(F.pad(cut_chw, padding)[None], size, size)[0]


def _painted(
    pixels_chw: torch.Tensor, share_hw: torch.Tensor, mode: Mode, preprocessing: Preprocessing
) -> torch.Tensor:
    """The modes that paint or drain colours; these work on the picture as people see it, values 0…1."""
    mean_c11, std_c11 = (
        torch.tensor(values, dtype=torch.float32).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std)
    )
    seen_chw = (pixels_chw * std_c11 + mean_c11).clamp(0, 1)
    grey_hw = (seen_chw * torch.tensor(_LUMA).view(3, 1, 1)).sum(0)
    if mode.name == "greyscale":
        grey_chw = (grey_hw - mean_c11) / std_c11
        return _blend(pixels_chw, share_hw, grey_chw, mode["background"])
    if mode.name == "colourised":
        dyed_chw = torch.tensor(_DYE).view(3, 1, 1) * grey_hw * share_hw
        painted_chw = dyed_chw + mode["background"] * grey_hw * (1 - share_hw)
        return (painted_chw - mean_c11) / std_c11
    marked_hw = share_hw >= min(0.5, float(share_hw.max()))
    if mode.name == "outline_red":
        line_hw = _outline(marked_hw, int(mode["width"]))
    else:
        line_hw = _frame(marked_hw, int(mode["width"]), mode["context"])
    red_c11 = (torch.tensor(_RED).view(3, 1, 1) - mean_c11) / std_c11
    return torch.where(line_hw, red_c11, pixels_chw)


def _outline(marked_hw: torch.Tensor, width: int) -> torch.Tensor:
    """The marked pixels with an unmarked 4-neighbour, thickened to `width` pixels; outside the picture is unmarked."""
    around = F.pad(marked_hw, (1, 1, 1, 1))
    inner_hw = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    border = (marked_hw & ~inner_hw).float()[None, None]
    before, after = width // 2, (width - 1) // 2
    return F.max_pool2d(F.pad(border, (before, after, before, after)), width, stride=1)[0, 0] > 0


def _frame(marked_hw: torch.Tensor, width: int, context: float) -> torch.Tensor:
    """The widened box's border, `width` pixels, half outside the box; clipped to the picture."""
    x0, y0, x1, y1 = widened_box(marked_hw.float(), context)
    outside, inside = width // 2, width - width // 2
    frame_hw = torch.zeros_like(marked_hw)
    frame_hw[max(0, y0 - outside) : y1 + outside, max(0, x0 - outside) : x1 + outside] = True
    frame_hw[y0 + inside : max(y0 + inside, y1 - inside), x0 + inside : max(x0 + inside, x1 - inside)] = False
    return frame_hw


def _resized(picture_hwc: np.ndarray, height: int, width: int, preprocessing: Preprocessing) -> np.ndarray:
    """Resized with the checkpoint's own filter; a picture of that size comes back as it is."""
    if picture_hwc.shape[:2] == (height, width):
        return picture_hwc
    return np.array(Image.fromarray(picture_hwc).resize((width, height), resample=preprocessing.resample))


def _normalised(picture_hwc: np.ndarray, preprocessing: Preprocessing) -> torch.Tensor:
    """uint8 [h, w, 3] → float32 [3, h, w]."""
    mean, std = (torch.tensor(values, dtype=torch.float32) for values in (preprocessing.mean, preprocessing.std))
    return ((torch.tensor(picture_hwc).float() * preprocessing.rescale - mean) / std).permute(2, 0, 1)


def _interpolate(values_bchw: torch.Tensor, height: int, width: int) -> torch.Tensor:
    if values_bchw.shape[2:] == (height, width):
        return values_bchw
    return F.interpolate(values_bchw, (height, width), mode="bilinear", antialias=True, align_corners=False)
