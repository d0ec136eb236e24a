"""Image prompts as CLIPSeg's authors compose them (``datasets/utils.py``, ``evaluation_utils.py``), for their numbers.

Everything is done at S×S, and masks, cuts too, are resized to the nearest pixel. So a thin mask may vanish, and its box
is then the whole picture; theirs does the same. How the picture itself is squashed differs among their loaders; here
it is the checkpoint's own filter, which their COCO-20i has.
"""

import torch
import torch.nn.functional as F

from clipseg_ray.queries.canvas import Canvas, padded_square, widened_box

_LESS = 0.01
"""What the authors subtract where the background is blurred and nothing is cut."""

_REACH = 3
"""How far OpenCV's line of thickness 5 reaches from the pixels that it joins: it is 7 wide."""


class PublishedCanvas(Canvas):
    """The canvas of modes with ``published=1``."""

    def softened(self, background: float, sigma: float) -> torch.Tensor:
        """``img·m + b·blur(img)·(1 − m) − 0.01``."""
        return self.blended(background, sigma) - _LESS

    def cropped(self, background: float, sigma: float, context: float) -> torch.Tensor:
        """As ``blended``, then the mask's widened box cut from S×S, padded to a square with 0, resized to S."""
        share_hw = self._share()
        x0, y0, x1, y1 = widened_box(share_hw if share_hw.any() else torch.ones_like(share_hw), context)
        cut_chw = self.blended(background, sigma)[:, y0:y1, x0:x1]
        size = self.preprocessing.size
        return F.interpolate(padded_square(cut_chw)[None], (size, size), mode="nearest")[0]

    def outlined(self, width: float) -> torch.Tensor:
        """The red line that OpenCV draws for ``width`` 5 along the mask's outer borders, to the pixel; not of holes."""
        border_hw = _outer_border(self._share() > 0)
        steps = torch.arange(-_REACH, _REACH + 1)
        disc_hw = (steps[:, None] ** 2 + steps**2 <= _REACH**2).float()
        return self._reddened(F.conv2d(border_hw[None, None].float(), disc_hw[None, None], padding=_REACH)[0, 0] > 0.5)

    def _share(self, height: int | None = None, width: int | None = None) -> torch.Tensor:
        mask_11hw = torch.from_numpy(self.mask_hw).float()[None, None]
        size = self.preprocessing.size
        return F.interpolate(mask_11hw, (height or size, width or size), mode="nearest")[0, 0]


def _outer_border(marked_hw: torch.Tensor) -> torch.Tensor:
    """The marked pixels with a 4-neighbour outside: unmarked, and joined through such ones to the picture's edge."""
    open_hw = F.pad(~marked_hw, (1, 1, 1, 1), value=True)
    outside_hw = F.pad(torch.zeros_like(marked_hw), (1, 1, 1, 1), value=True)
    reached = 0
    while (now := int(outside_hw.sum())) > reached:
        reached = now
        outside_hw = outside_hw | (open_hw & _beside(outside_hw))
    return marked_hw & _beside(outside_hw)[1:-1, 1:-1]


def _beside(marked_hw: torch.Tensor) -> torch.Tensor:
    """The marked pixels and their 4-neighbours."""
    marked_11hw = marked_hw[None, None].float()
    vertical, horizontal = (
        F.max_pool2d(marked_11hw, size, 1, pad) for size, pad in (((3, 1), (1, 0)), ((1, 3), (0, 1)))
    )
    return (vertical + horizontal)[0, 0] > 0
