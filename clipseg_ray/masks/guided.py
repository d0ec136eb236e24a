"""The guided filter (He, Sun and Tang, "Guided Image Filtering", 2013) on probabilities, with the image as its guide.

In every window of the image the filter fits probability = a · colour + b, with ``epsilon`` holding a down, and gives
each pixel the mean of what the windows around it say of its colour: borders of masks move to those of the picture. The
coefficients are fitted on cells of ``CELL`` pixels a side ("Fast Guided Filter", He and Sun, 2015) and interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clipseg_ray.masks import guided_kernel

CELL = 4
"""Pixels of the grid along a cell's side: finer than that, masks are worse and take much longer."""
_LEAST, _MOST = 1e-30, 1 - 2**-24
"""What filtered probabilities are clipped to, so that their logits are finite: no threshold in float32 is beyond."""


@dataclass(frozen=True)
class Guide:
    """Images as the filter is guided by them, and what is the same for every mask of one.

    planes_bcwh: uint8 [b, 3, w, h], transposed as logits are. Float32 on the cells: cells_bcuv, their mean colours less
    one half; mean_bcuv, the mean of these in each window; inverse_bkuv, [b, 6, u, v], the upper triangle of the inverse
    of (covariance + epsilon).
    """

    planes_bcwh: Tensor
    cells_bcuv: Tensor
    mean_bcuv: Tensor
    inverse_bkuv: Tensor


@dataclass(frozen=True)
class GuidedFilter:
    """The filter at one setting. radius: of a window, in pixels of the grid. epsilon: a variance of colours in 0…1.

    On a CPU it is machine code, elsewhere PyTorch's operations, equal up to rounding: within 1e-6 / √epsilon.
    """

    radius: int
    epsilon: float

    @classmethod
    def of(cls, recorded: Mapping[str, Any] | None) -> GuidedFilter | None:
        """What the dataset's record says: ``MasksConfig.refinement``'s value."""
        return None if recorded is None else cls(recorded["radius"], recorded["epsilon"])

    @property
    def cells(self) -> int:
        """The radius in cells, at least 1."""
        return max(1, round(self.radius / CELL))

    @property
    def reach(self) -> float:
        """No probability leaves the filter greater than this many times the map's greatest.

        In a window where probabilities lie in 0…m and their mean is p, a pixel of colour i gets p + a·(i − μ) with
        a = (Σ + ε)⁻¹ cov. By Cauchy and Schwarz, a·(i − μ) ≤ √(aᵀ(Σ + ε)a) · √((i − μ)ᵀ(Σ + ε)⁻¹(i − μ)). The first
        root squared is covᵀ(Σ + ε)⁻¹cov, at most the probabilities' variance, which is at most p(m − p); the second is
        at most κ = √(3 / ε), for Σ has no negative eigenvalue and two colours are at most √3 apart. Over p,
        p + κ√(p(m − p)) is at most m(1 + √(1 + κ²)) / 2. Means over windows and interpolation between them do not
        add to it.
        """
        return (1 + math.sqrt(1 + 3 / self.epsilon)) / 2

    def faint(self, limit_p: Tensor) -> Tensor:
        """The logits below which a map's greatest cannot lead to a pixel above its limit (logits, float32 [p])."""
        # Half as much again: for rounding, which the bound knows nothing of.
        return torch.logit(limit_p.double().sigmoid() / (1.5 * self.reach)).float()

    def guide(self, pixels_bhwc: Tensor) -> Guide:
        """Images, uint8 [b, h, w, 3] on the device where they are to guide."""
        planes_bcwh = pixels_bhwc.permute(0, 3, 2, 1).contiguous()
        if planes_bcwh.device.type == "cpu":
            sides = [-(-side // CELL) for side in planes_bcwh.shape[2:]]
            found = [torch.empty(len(planes_bcwh), count, *sides) for count in (3, 3, 6)]
            for image in range(len(planes_bcwh)):
                guided_kernel.guide_statistics(
                    planes_bcwh[image].numpy(), self.cells, self.epsilon, *(each[image].numpy() for each in found)
                )
            return Guide(planes_bcwh, *found)
        return self.guide_with_torch(planes_bcwh)

    def guide_with_torch(self, planes_bcwh: Tensor) -> Guide:
        """``guide`` on any device, of images that are transposed already: uint8 [b, 3, w, h]."""
        width, height = planes_bcwh.shape[2:]
        sides = (-(-width // CELL), -(-height // CELL))
        cells_bcuv = F.adaptive_avg_pool2d((planes_bcwh.float() - 127.5) / 255, sides)
        mean_bcuv = self._window_means(cells_bcuv)
        return Guide(planes_bcwh, cells_bcuv, mean_bcuv, self._inverse(cells_bcuv, mean_bcuv))

    def refined(self, logits_pwh: Tensor, guide: Guide, image_index_p: Tensor, limit_p: Tensor | None = None) -> Tensor:
        """The logits of the filtered probabilities: float32 [p, w, h], new.

        logits_pwh: float32, on the grid of ``guide``. image_index_p: int64 [p], whose guide is whose.
        limit_p: the thresholds as logits, where masks are cut from the maps as they are: one so faint that no pixel of
        it can come to lie above its own stays as it is. So does one that is not finite. No row depends on others.
        """
        faint_p = torch.full_like(logits_pwh[:, 0, 0], -torch.inf) if limit_p is None else self.faint(limit_p)
        if logits_pwh.device.type == "cpu":
            return self._refined_on_cpu(logits_pwh, guide, image_index_p, faint_p)
        return self.refined_with_torch(logits_pwh, guide, image_index_p, faint_p)

    def refined_with_torch(self, logits_pwh: Tensor, guide: Guide, image_index_p: Tensor, faint_p: Tensor) -> Tensor:
        """``refined`` on any device; waits for nothing. faint_p: see ``faint``."""
        logits_pn = logits_pwh.flatten(1)
        keep_p = (logits_pn.amax(1) < faint_p) | ~torch.isfinite(logits_pn).all(1)
        filtered_pwh = self._filtered(logits_pwh.sigmoid(), guide, image_index_p)
        return torch.where(keep_p[:, None, None], logits_pwh, torch.logit(filtered_pwh.clamp(_LEAST, _MOST)))

    def of_image(self, pixels_hwc: Tensor) -> Callable[..., Tensor]:
        """(logits [p, w, h], limit_p or None) → ``refined`` of them, for one image: uint8 [h, w, 3] on the device."""
        guide = self.guide(pixels_hwc[None])

        def refined(logits_pwh: Tensor, limit_p: Tensor | None = None) -> Tensor:
            rows = torch.zeros(len(logits_pwh), dtype=torch.int64, device=logits_pwh.device)
            return self.refined(logits_pwh, guide, rows, limit_p)

        return refined

    def _refined_on_cpu(self, logits_pwh: Tensor, guide: Guide, image_index_p: Tensor, faint_p: Tensor) -> Tensor:
        refined_pwh = torch.empty_like(logits_pwh, memory_format=torch.contiguous_format)
        for row, image in enumerate(image_index_p.tolist()):
            logits_wh, target_wh = logits_pwh[row].contiguous(), refined_pwh[row]
            highest = guided_kernel.highest(logits_wh.flatten().numpy())
            if not np.isfinite(highest) or highest < faint_p[row]:
                target_wh.copy_(logits_wh)
                continue
            torch.sigmoid(logits_wh, out=target_wh)
            guided_kernel.filter_in_place(
                target_wh.numpy(),
                guide.planes_bcwh[image].numpy(),
                self.cells,
                *(each[image].numpy() for each in (guide.cells_bcuv, guide.mean_bcuv, guide.inverse_bkuv)),
            )
            torch.logit(target_wh.clamp_(_LEAST, _MOST), out=target_wh)
        return refined_pwh

    def _filtered(self, probability_pwh: Tensor, guide: Guide, image_index_p: Tensor) -> Tensor:
        """The filter in PyTorch's operations; what it gives may leave 0…1."""
        cells_pcuv, mean_pcuv = guide.cells_bcuv[image_index_p], guide.mean_bcuv[image_index_p]
        own_p1uv = F.adaptive_avg_pool2d(probability_pwh[:, None], (cells_pcuv.shape[2], cells_pcuv.shape[3]))
        own_mean_p1uv = self._window_means(own_p1uv)
        covariance_pcuv = self._window_means(cells_pcuv * own_p1uv) - mean_pcuv * own_mean_p1uv
        slope_pcuv = _product(guide.inverse_bkuv[image_index_p], covariance_pcuv)
        rest_p1uv = own_mean_p1uv - (slope_pcuv * mean_pcuv).sum(1, keepdim=True)
        linear_pkuv = self._window_means(torch.cat([slope_pcuv, rest_p1uv], 1))
        linear_pkwh = F.interpolate(linear_pkuv, probability_pwh.shape[1:], mode="bilinear", align_corners=False)
        planes_pcwh = (guide.planes_bcwh[image_index_p].float() - 127.5) / 255
        return (linear_pkwh[:, :3] * planes_pcwh).sum(1) + linear_pkwh[:, 3]

    def _inverse(self, cells_bcuv: Tensor, mean_bcuv: Tensor) -> Tensor:
        products_bkuv = self._window_means(_products(cells_bcuv)).double()
        rr, rg, rb, gg, gb, bb = (products_bkuv - _products(mean_bcuv.double())).unbind(1)
        rr, gg, bb = (each.clamp(min=0) + self.epsilon for each in (rr, gg, bb))
        adjugate_bkuv = torch.stack(
            [
                gg * bb - gb * gb,
                rb * gb - rg * bb,
                rg * gb - rb * gg,
                rr * bb - rb * rb,
                rb * rg - rr * gb,
                rr * gg - rg * rg,
            ],
            1,
        )
        determinant = (torch.stack([rr, rg, rb], 1) * adjugate_bkuv[:, :3]).sum(1, keepdim=True)
        return (adjugate_bkuv / determinant).float()

    def _window_means(self, values_bkuv: Tensor) -> Tensor:
        """Means over windows cut off at the border: along one side, then along the other."""
        side, radius = 2 * self.cells + 1, self.cells
        across = F.avg_pool2d(values_bkuv, (side, 1), 1, (radius, 0), count_include_pad=False)
        return F.avg_pool2d(across, (1, side), 1, (0, radius), count_include_pad=False)


def _products(values_bcuv: Tensor) -> Tensor:
    """[b, 6, u, v]: of every two colours, red with red first."""
    # Slices: a list of indices would be copied to the device each time, and waited for.
    return torch.cat([values_bcuv[:, c : c + 1] * values_bcuv[:, c:] for c in range(3)], 1)


def _product(inverse_pkuv: Tensor, vector_pcuv: Tensor) -> Tensor:
    """Symmetric matrices times vectors, cell by cell."""
    rr, rg, rb, gg, gb, bb = inverse_pkuv.unbind(1)
    red, green, blue = vector_pcuv.unbind(1)
    return torch.stack(
        [rr * red + rg * green + rb * blue, rg * red + gg * green + gb * blue, rb * red + gb * green + bb * blue], 1
    )
