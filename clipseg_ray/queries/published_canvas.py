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

    def _share(self, height: int | None = None, width: int | None = None) -> torch.Tensor:
        mask_11hw = torch.from_numpy(self.mask_hw).float()[None, None]
        size = self.preprocessing.size
        return F.interpolate(mask_11hw, (height or size, width or size), mode="nearest")[0, 0]
