"""What is kept of any number of masks: integers that add up, and the measures that follow from them.

A pixel is inside a mask where its probability is above the threshold. Measures over a set pool its pixels:

- ``IoU_FG = TP / (TP + FP + FN)`` and ``IoU_BIN = (IoU_FG + TN / (TN + FP + FN)) / 2``.
- ``AP``: area under the precision-recall steps, Σ (R_k − R_{k−1}) · P_k, over probabilities rounded up to 1/BINS;
  scikit-learn's ``average_precision_score`` of the rounded probabilities.
- Where a class has no true pixel in the set, its IoU is undefined and None, however much was predicted; such a query
  is left out of means, but its false positives count wherever pixels are pooled. (CLIPSeg's authors add 1 to each
  denominator instead, which makes it 0; for classes that occur the two differ by less than 1 / their pixels.)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from clipseg_ray.evaluation.counting import BINS, count

THRESHOLDS = tuple(k / 50 for k in range(1, 50))
"""0.02, 0.04, … 0.98: CLIPSeg's. Every one is an edge of the histogram's bins."""

_EDGES_T = np.array([round(threshold * BINS) for threshold in THRESHOLDS])
_SHARE = 1 << 32  # an image's IoU is kept in units of 2⁻³²: sums of integers know no order
_NOWHERE = np.zeros(0, np.bool_)


def _histograms() -> np.ndarray:
    return np.zeros((2, BINS), np.int64)


@dataclass(eq=False)
class Counts:
    """Counts of one query, or of several added together.

    pixels_cb: int64 [2, BINS], pixels by their probability: background (0) and foreground (1) by the truth.
    images_cb: int64 [2, BINS], pictures by their score: without the thing (0) and with it (1).
    share_sum_t: int64 [T], for each of THRESHOLDS the sum of IoU over the pictures with the thing, in 2⁻³².
    """

    pixels_cb: np.ndarray = field(default_factory=_histograms)
    images_cb: np.ndarray = field(default_factory=_histograms)
    share_sum_t: np.ndarray = field(default_factory=lambda: np.zeros(len(THRESHOLDS), np.int64))

    def update(
        self,
        probability_hw: np.ndarray,
        label_hw: np.ndarray | None,
        ignore_hw: np.ndarray | None = None,
        score: float | None = None,
    ) -> None:
        """Count one picture; see ``Metrics.update``."""
        probability_hw = np.asarray(probability_hw)
        if probability_hw.dtype != np.float32:
            raise ValueError(f"probabilities are float32, not {probability_hw.dtype}")
        planes = [_flat(plane, probability_hw.shape) for plane in (label_hw, ignore_hw)]
        found_cb = np.empty((2, BINS), np.int32)
        if not count(np.ascontiguousarray(probability_hw).reshape(-1), *planes, found_cb):
            raise ValueError("some probabilities are not between 0 and 1; give probabilities, not logits")
        seen_b = found_cb.any(axis=0)
        if not seen_b.any():
            return  # all of it is to be ignored: the picture says nothing
        self.pixels_cb += found_cb
        present = int(found_cb[1].any())
        self.images_cb[present, _bin(score) if score is not None else int(np.flatnonzero(seen_b)[-1])] += 1
        if present:
            true_t, false_t = _above(found_cb)[::-1]
            self.share_sum_t += (true_t * _SHARE) // (found_cb[1].sum() + false_t)

    def __iadd__(self, other: Counts) -> Counts:
        self.pixels_cb += other.pixels_cb
        self.images_cb += other.images_cb
        self.share_sum_t += other.share_sum_t
        return self

    @property
    def images(self) -> tuple[int, int]:
        """Pictures without the thing, and with it."""
        without, having = self.images_cb.sum(axis=1).tolist()
        return without, having

    @property
    def iou_fg_t(self) -> np.ndarray | None:
        """IoU of the foreground at each of THRESHOLDS: float64 [T]; None if the truth has no foreground."""
        foreground = int(self.pixels_cb[1].sum())
        if not foreground:
            return None
        false_t, true_t = _above(self.pixels_cb)
        return true_t / (foreground + false_t)

    @property
    def iou_bin_t(self) -> np.ndarray | None:
        """Mean of the foreground's and the background's IoU: float64 [T]; None where one of them is undefined."""
        background, foreground = self.pixels_cb.sum(axis=1).tolist()
        iou_fg_t = self.iou_fg_t
        if iou_fg_t is None or not background:
            return None
        false_t, true_t = _above(self.pixels_cb)
        return (iou_fg_t + (background - false_t) / (background + foreground - true_t)) / 2

    @property
    def iou_per_image_t(self) -> np.ndarray | None:
        """Mean over the pictures with the thing of each one's own IoU: float64 [T]; None if there is none."""
        having = self.images[1]
        return self.share_sum_t / _SHARE / having if having else None

    @property
    def precision_t(self) -> np.ndarray:
        """Share of the predicted pixels that are true: float64 [T], NaN where nothing is predicted."""
        false_t, true_t = _above(self.pixels_cb)
        return _ratio(true_t, true_t + false_t)

    @property
    def recall_t(self) -> np.ndarray:
        """Share of the true pixels that are predicted: float64 [T], NaN without any."""
        true_t = _above(self.pixels_cb)[1]
        return _ratio(true_t, np.full_like(true_t, self.pixels_cb[1].sum()))

    @property
    def silent_t(self) -> tuple[np.ndarray, np.ndarray]:
        """Share of the pictures whose score is not above each of THRESHOLDS, so that they have no mask.

        float64 [T], NaN without pictures: of those without the thing (the higher the better), of those with it.
        """
        silent_ct = self.images_cb.sum(axis=1, keepdims=True) - _above(self.images_cb)
        without_t, having_t = (
            _ratio(silent_t, np.full_like(silent_t, number))
            for silent_t, number in zip(silent_ct, self.images, strict=True)
        )
        return without_t, having_t

    @property
    def average_precision(self) -> float | None:
        """AP over pixels; None if the truth has no foreground."""
        return average_precision(self.pixels_cb)

    @property
    def average_precision_images(self) -> float | None:
        """AP of the pictures' scores as a sign that the thing is there; None if it is in no picture."""
        return average_precision(self.images_cb)

    @property
    def best(self) -> int | None:
        """Index into THRESHOLDS of the greatest IoU_FG, the lowest of equals; None if it is undefined."""
        iou_fg_t = self.iou_fg_t
        return None if iou_fg_t is None else int(np.argmax(iou_fg_t))


def average_precision(counts_cb: np.ndarray) -> float | None:
    """AP of a histogram pair, int64 [2, BINS]: negatives and positives; None without positives."""
    false_b, true_b = np.cumsum(counts_cb[:, ::-1], axis=1)
    if not true_b[-1]:
        return None
    steps_b = counts_cb[1, ::-1]
    return float((steps_b * _ratio(true_b, true_b + false_b))[steps_b > 0].sum() / true_b[-1])


def _above(counts_cb: np.ndarray) -> np.ndarray:
    """How many lie above each of THRESHOLDS: int64 [2, T]."""
    from_top_cb = np.cumsum(counts_cb[:, ::-1], axis=1, dtype=np.int64)[:, ::-1]
    return from_top_cb[:, _EDGES_T]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def _bin(probability: float) -> int:
    if not 0 <= probability <= 1:
        raise ValueError(f"a score of {probability} is not between 0 and 1")
    return max(int(np.ceil(np.float64(probability) * BINS)) - 1, 0)


def _flat(plane_hw: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """bool [n]; bool [0] for None."""
    if plane_hw is None:
        return _NOWHERE
    plane_hw = np.asarray(plane_hw)
    if plane_hw.dtype != np.bool_ or plane_hw.shape != shape:
        raise ValueError(
            f"label and ignore are bool of the probabilities' shape {shape}, not {plane_hw.dtype} {plane_hw.shape}"
        )
    return np.ascontiguousarray(plane_hw).reshape(-1)
