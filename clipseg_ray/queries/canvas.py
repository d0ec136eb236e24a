"""What image prompts are composed on: a support picture and its mask, brought to what the model sees.

The modes are those the paper compares (CLIPSeg, section 4.3 and table 2), computed from their definitions on the
*normalised* picture, where 0 is the mean colour: what is darkened fades to it.

Every picture is first squashed to the model's size S, as images to be segmented are. The authors' code does other
things in places, and ``published_canvas`` with it. Modes that crop keep the picture in its own size and shape (at most
4·S), so that a small thing in a large photo stays sharp, where they cut from S×S; the blur is still that of the picture
at S×S. What is cut is resized bilinearly, not to the nearest pixel, of S×S pictures as well. Masks are resized to
shares between 0 and 1, so that nothing thin gets lost. Nothing is subtracted, the red box is red once it is seen, and
grey is brightness, where theirs is the green channel.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from clipseg_ray.pixels.preprocessing import Preprocessing

KERNEL = 15
"""Side of the Gaussian kernel in pixels, whatever its sigma."""

_CROPPED_FROM = 4
_RED = (1.0, 0.0, 0.0)
_DYE = (1.0, 0.2, 0.2)
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Canvas:
    """A picture (uint8 [h, w, 3]) and its mask (bool [h, w], not empty).

    A method is a way to compose, given its parameters by name: it returns the normalised picture, float32 [3, S, S].
    m is the mask, b ``background``, blur a Gaussian of ``sigma`` pixels at S×S in a 15×15 kernel.
    """

    picture_hwc: np.ndarray
    mask_hw: np.ndarray
    preprocessing: Preprocessing

    def whole(self) -> torch.Tensor:
        """The picture as it is."""
        return self._pixels(self.preprocessing.size, self.preprocessing.size)

    def blended(self, background: float, sigma: float) -> torch.Tensor:
        """``img·m + b·blur(img)·(1 − m)``."""
        squashed_chw = self.whole()
        return _blend(squashed_chw, self._share(), gaussian_blur(squashed_chw, sigma), background)

    def softened(self, background: float, sigma: float) -> torch.Tensor:
        """As ``blended``; the authors darken it."""
        return self.blended(background, sigma)

    def cropped(self, background: float, sigma: float, context: float) -> torch.Tensor:
        """As ``blended``, then the mask's box widened on each side by ``context`` × its own extent, clipped to the
        picture, padded to a square with 0, resized to S.
        """
        size = self.preprocessing.size
        height, width = self.picture_hwc.shape[:2]
        shrink = min(1.0, _CROPPED_FROM * size / max(height, width))
        height, width = max(1, round(height * shrink)), max(1, round(width * shrink))
        share_hw = self._share(height, width)
        soft_chw = _interpolate(gaussian_blur(self.whole(), sigma)[None], height, width)[0]
        blended_chw = _blend(self._pixels(height, width), share_hw, soft_chw, background)
        x0, y0, x1, y1 = widened_box(share_hw, context)
        return _interpolate(padded_square(blended_chw[:, y0:y1, x0:x1])[None], size, size)[0]

    def outlined(self, width: float) -> torch.Tensor:
        """A red line of ``width`` pixels along the mask's border."""
        return self._reddened(_outline(self._marked(), int(width)))

    def boxed(self, width: float, context: float) -> torch.Tensor:
        """The mask's box, widened as for ``cropped``, in red lines of ``width`` pixels."""
        return self._reddened(_frame(self._marked(), int(width), context))

    def colourised(self, background: float) -> torch.Tensor:
        """The picture in grey, the object dyed red, the rest times b."""
        share_hw, grey_hw = self._share(), self._grey()
        dyed_chw = torch.tensor(_DYE).view(3, 1, 1) * grey_hw * share_hw
        return self._normalised(dyed_chw + background * grey_hw * (1 - share_hw))

    def greyscale(self, background: float) -> torch.Tensor:
        """The object in its colours, the rest in grey times b."""
        return _blend(self.whole(), self._share(), self._normalised(self._grey()), background)

    def _pixels(self, height: int, width: int) -> torch.Tensor:
        """The picture in a size, with the checkpoint's own filter, normalised: float32 [3, h, w]."""
        picture_hwc, preprocessing = self.picture_hwc, self.preprocessing
        if picture_hwc.shape[:2] != (height, width):
            resized = Image.fromarray(picture_hwc).resize((width, height), resample=preprocessing.resample)
            picture_hwc = np.array(resized)
        pixels_chw = torch.tensor(picture_hwc).float().permute(2, 0, 1)
        return self._normalised(pixels_chw * preprocessing.rescale)

    def _share(self, height: int | None = None, width: int | None = None) -> torch.Tensor:
        """How much of each pixel is marked, S×S unless given otherwise: float32 [h, w]."""
        mask_11hw = torch.from_numpy(np.ascontiguousarray(self.mask_hw, np.float32))[None, None]
        return _interpolate(mask_11hw, height or self.preprocessing.size, width or self.preprocessing.size)[0, 0]

    def _marked(self) -> torch.Tensor:
        """bool [S, S]"""
        share_hw = self._share()
        return share_hw >= min(0.5, float(share_hw.max()))

    def _grey(self) -> torch.Tensor:
        """The brightness as people see it, from 0 to 1: float32 [S, S]."""
        mean_c11, std_c11 = self._moments()
        seen_chw = (self.whole() * std_c11 + mean_c11).clamp(0, 1)
        return (seen_chw * torch.tensor(_LUMA).view(3, 1, 1)).sum(0)

    def _normalised(self, seen: torch.Tensor) -> torch.Tensor:
        """Values from 0 to 1 ([3, S, S], [3, 1, 1] or [S, S]) as the model has them."""
        mean_c11, std_c11 = self._moments()
        return (seen - mean_c11) / std_c11

    def _reddened(self, line_hw: torch.Tensor) -> torch.Tensor:
        """The picture, red where ``line_hw`` says."""
        return torch.where(line_hw, self._normalised(torch.tensor(_RED).view(3, 1, 1)), self.whole())

    def _moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation, float32 [3, 1, 1] each."""
        moments = (self.preprocessing.mean, self.preprocessing.std)
        mean_c11, std_c11 = (torch.tensor(values, dtype=torch.float32).view(3, 1, 1) for values in moments)
        return mean_c11, std_c11


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


def padded_square(pixels_chw: torch.Tensor) -> torch.Tensor:
    """0 added on both sides of the shorter axis, the odd pixel behind: [c, side, side]."""
    side = max(pixels_chw.shape[1:])
    left, top = (side - pixels_chw.shape[2]) // 2, (side - pixels_chw.shape[1]) // 2
    return F.pad(pixels_chw, (left, side - pixels_chw.shape[2] - left, top, side - pixels_chw.shape[1] - top))


def _blend(pixels_chw: torch.Tensor, share_hw: torch.Tensor, soft_chw: torch.Tensor, background: float) -> torch.Tensor:
    return pixels_chw * share_hw + background * soft_chw * (1 - share_hw)


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


def _interpolate(values_bchw: torch.Tensor, height: int, width: int) -> torch.Tensor:
    if values_bchw.shape[2:] == (height, width):
        return values_bchw
    return F.interpolate(values_bchw, (height, width), mode="bilinear", antialias=True, align_corners=False)
