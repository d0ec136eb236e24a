"""The logits of an image's windows as one map, each window counting most in its middle."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from clipseg_ray.pixels.views import Views


class Merging:
    """Windows of S×S over T×T pixels, T = tiles · S, on one device.

    A window's pixel has the weight of a Hann window in it, divided by the sum of those of all windows over that pixel.
    Windows lie on a grid, so that weights are products of one along each side. Window number ``row · n + column``.
    """

    def __init__(self, views: Views, tiles: int, size: int, device: torch.device) -> None:
        self.starts, self.size, self.side = views.starts(tiles, size), size, tiles * size
        centre_s = torch.arange(size, dtype=torch.float64) + 0.5
        hann_s = torch.sin(centre_s * (math.pi / size)) ** 2
        total_t = torch.zeros(self.side, dtype=torch.float64)
        for start in self.starts:
            total_t[start : start + size] += hann_s
        shares = [hann_s / total_t[start : start + size] for start in self.starts]
        self._share_ns = torch.stack(shares).float().to(device)

    def __len__(self) -> int:
        """Windows."""
        return len(self.starts) ** 2

    def cut(self, pixels_hwc: Tensor) -> Tensor:
        """The windows of an image: uint8 [T, T, 3] → [n², S, S, 3]."""
        size = self.size
        rows = [pixels_hwc[top : top + size] for top in self.starts]
        return torch.stack([row[:, left : left + size] for row in rows for left in self.starts])

    def add(self, map_kwh: Tensor, window: int, logits_kwh: Tensor) -> None:
        """Add one window's weighted logits to maps float32 [k, T, T], transposed; logits float32 [k, S, S]."""
        row, column = divmod(window, len(self.starts))
        left, top = self.starts[column], self.starts[row]
        weight_wh = self._share_ns[column][:, None] * self._share_ns[row]
        map_kwh[:, left : left + self.size, top : top + self.size].addcmul_(logits_kwh, weight_wh)


def enlarged(logits_kwh: Tensor, side: int) -> Tensor:
    """Logits float32 [k, w, h] interpolated bilinearly to [k, side, side]."""
    if logits_kwh.shape[1:] == (side, side):
        return logits_kwh
    return F.interpolate(logits_kwh[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]
