"""Whether two ways of computing masks agree, and what a lower precision costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Agreement:
    """Masks of ours held against a reference's, pixel by pixel.

    ``ties`` counts the pixels that differ and whose reference logit is within ``tolerance`` of the threshold, where
    rounding decides. ``agrees``: no other pixel differs, and no logit by more than the tolerance.
    """

    masks: int
    pixels: int
    differing: int
    ties: int
    max_logit_difference: float
    tolerance: float

    @classmethod
    def of(
        cls, ours_phw: np.ndarray, reference_phw: np.ndarray, logits_phw: np.ndarray, reference_logits_phw: np.ndarray
    ) -> Agreement:
        """Masks (bool) and logits (float32) of ours and of the reference; the threshold is a logit of 0."""
        tolerance = 2e-5 * max(1.0, float(reference_logits_phw.std()))
        differ_phw = ours_phw != reference_phw
        return cls(
            len(ours_phw),
            ours_phw.size,
            int(differ_phw.sum()),
            int((differ_phw & (np.abs(reference_logits_phw) <= tolerance)).sum()),
            float(np.abs(logits_phw - reference_logits_phw).max()),
            tolerance,
        )

    @property
    def agrees(self) -> bool:
        """Whether rounding explains every difference."""
        return self.differing == self.ties and self.max_logit_difference <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {**vars(self), "agrees": self.agrees}

    def __str__(self) -> str:
        return (
            f"{'agree' if self.agrees else 'DO NOT AGREE'}: {self.differing} of {self.pixels} pixels in {self.masks} "
            f"masks differ, {self.ties} of them ties at the threshold; logits differ by at most "
            f"{self.max_logit_difference:.1e} (allowed {self.tolerance:.1e})"
        )


def precision_error(masks_pn: np.ndarray, exact_pn: np.ndarray) -> dict[str, float]:
    """How far masks (bool [P, n]) are from those computed in fp32: IoU of each pair, and pixels that differ.

    Two empty masks have an IoU of 1. ``iou_pooled`` is over the pixels of all masks together.
    """
    both_p, either_p = (masks_pn & exact_pn).sum(1), (masks_pn | exact_pn).sum(1)
    iou_p = np.where(either_p > 0, both_p / np.maximum(either_p, 1), 1.0)
    return {
        "masks": len(masks_pn),
        "iou_mean": float(iou_p.mean()),
        "iou_5th_percentile": float(np.quantile(iou_p, 0.05)),
        "iou_min": float(iou_p.min()),
        "iou_pooled": float(both_p.sum() / max(1, either_p.sum())),
        "pixels_differ": float((masks_pn != exact_pn).mean()),
    }


def columns_differ(ours: Sequence[float | None], reference: Sequence[float] | np.ndarray) -> float:
    """The largest difference between two columns of scores; ours null where the reference is NaN counts as none."""
    a = np.array([np.nan if value is None else value for value in ours])
    b = np.asarray(reference, np.float64)
    if (np.isnan(a) != np.isnan(b)).any():
        return float("inf")
    return float(np.nanmax(np.abs(a - b), initial=0.0))
