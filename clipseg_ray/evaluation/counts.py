"""Histograms of one query's probabilities: what any threshold, and average precision, can be had from.

A pixel is inside a mask where its probability is above the threshold. ``AP`` is the area under the steps of precision
over recall, Σ (R_k − R_{k−1}) · P_k, of probabilities rounded up to 1/BINS: scikit-learn's
``average_precision_score`` of the rounded probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from clipseg_ray.evaluation.counting import BINS, count
from clipseg_ray.evaluation.published_ap import published_ap
from clipseg_ray.evaluation.regions import REGIONS, bands, size_of
from clipseg_ray.evaluation.tally import SHARE, TENTHS, Overlap, Tally

THRESHOLDS = tuple(k / 50 for k in range(1, 50))
"""0.02, 0.04, … 0.98: CLIPSeg's. Every one is an edge of the histograms' bins."""

_EDGES_T = np.array([round(threshold * BINS) for threshold in THRESHOLDS])
_TENTHS_K = np.array(TENTHS)
_NOWHERE = np.zeros(0, np.bool_)


def index_of(threshold: float) -> int:
    """The place of a threshold in THRESHOLDS. Raises ValueError for any other number."""
    for index, known in enumerate(THRESHOLDS):
        if abs(known - threshold) < 1e-9:
            return index
    raise ValueError(f"threshold {threshold:g} is none of 0.02, 0.04, … 0.98")


def _histograms(rows: int) -> np.ndarray:
    return np.zeros((rows, BINS), np.int64)


@dataclass(eq=False, kw_only=True)
class Counts:
    """Counts of one query, or of several added together.

    pixels_cb: int64 [3, BINS], pixels by probability: of images without the thing (0); of those with it the
        background (1) and the foreground (2).
    images_cb: int64 [2, BINS], images by score: without the thing (0) and with it (1).
    share_sum_t: int64 [T], for each of THRESHOLDS the sum of IoU over the images with the thing, in 1 / SHARE.
    above_kt: int64 [3, T], how many of these have an IoU above each of TENTHS.
    regions_rkt: int64 [5, 3, T], of each of REGIONS in these the pixels in mask and truth, in one, in the other.
    """

    pixels_cb: np.ndarray = field(default_factory=lambda: _histograms(3))
    images_cb: np.ndarray = field(default_factory=lambda: _histograms(2))
    share_sum_t: np.ndarray = field(default_factory=lambda: np.zeros(len(THRESHOLDS), np.int64))
    above_kt: np.ndarray = field(default_factory=lambda: np.zeros((len(TENTHS), len(THRESHOLDS)), np.int64))
    regions_rkt: np.ndarray = field(default_factory=lambda: np.zeros((len(REGIONS), 3, len(THRESHOLDS)), np.int64))

    def update(
        self,
        probability_hw: np.ndarray,
        label_hw: np.ndarray | None,
        ignore_hw: np.ndarray | None = None,
        score: float | None = None,
    ) -> None:
        """Count one image; see ``Metrics.update``."""
        probability_hw = np.asarray(probability_hw)
        if probability_hw.dtype != np.float32:
            raise ValueError(f"probabilities are float32, not {probability_hw.dtype}")
        label_n, ignore_n = (_flat(plane, probability_hw.shape) for plane in (label_hw, ignore_hw))
        probability_n = np.ascontiguousarray(probability_hw).reshape(-1)
        found_cb = np.empty((2, BINS), np.int32)
        if not count(probability_n, label_n, ignore_n, found_cb):
            raise ValueError("some probabilities are not between 0 and 1; give probabilities, not logits")
        seen_b = found_cb.any(axis=0)
        if not seen_b.any():
            return  # all of it is to be ignored: the image says nothing
        bin_of_score = int(np.flatnonzero(seen_b)[-1]) if score is None else bin_of(score)
        if found_cb[1].any():
            assert label_hw is not None
            self.pixels_cb[1:] += found_cb
            self.images_cb[1, bin_of_score] += 1
            true = int(found_cb[1].sum())
            false_t, true_t = _above(found_cb)
            union_t = true + false_t
            self.regions_rkt[size_of(true, int(found_cb.sum()))] += _overlaps(found_cb)
            for region, near_hw in bands(np.asarray(label_hw)):
                far_n = ~near_hw.reshape(-1)
                count(probability_n, label_n, far_n | ignore_n if len(ignore_n) else far_n, found_cb)
                self.regions_rkt[region] += _overlaps(found_cb)
            self.share_sum_t += (true_t * SHARE) // union_t
            self.above_kt += 10 * true_t > _TENTHS_K[:, None] * union_t
        else:
            self.pixels_cb[0] += found_cb[0]
            self.images_cb[0, bin_of_score] += 1

    def __iadd__(self, other: Counts) -> Counts:
        self.pixels_cb += other.pixels_cb
        self.images_cb += other.images_cb
        self.share_sum_t += other.share_sum_t
        self.above_kt += other.above_kt
        self.regions_rkt += other.regions_rkt
        return self

    def where_present(self) -> Counts:
        """Those of the images with the thing alone."""
        pixels_cb, images_cb = self.pixels_cb.copy(), self.images_cb.copy()
        pixels_cb[0], images_cb[0] = 0, 0
        return replace(self, pixels_cb=pixels_cb, images_cb=images_cb)

    def at(self, index: int) -> Tally:
        """The tally at THRESHOLDS[index]."""
        edge = _EDGES_T[index]
        false_negative, true_positive = _split(self.pixels_cb[2], edge)
        true_negative, false_positive = _split(self.pixels_cb[:2].sum(axis=0), edge)
        absent_silent, absent_found = _split(self.images_cb[0], edge)
        present_silent, present_found = _split(self.images_cb[1], edge)
        above_5, above_7, above_9 = self.above_kt[:, index].tolist()
        whole = Tally(
            true_positive=true_positive,
            false_positive=false_positive,
            false_negative=false_negative,
            true_negative=true_negative,
            present_found=present_found,
            present_silent=present_silent,
            absent_found=absent_found,
            absent_silent=absent_silent,
            share_sum=int(self.share_sum_t[index]),
            above_5=above_5,
            above_7=above_7,
            above_9=above_9,
        )
        return whole.with_regions(Overlap(*counted_k) for counted_k in self.regions_rkt[:, :, index].tolist())

    @property
    def iou_fg_t(self) -> np.ndarray | None:
        """IoU of the foreground at each of THRESHOLDS: float64 [T]; None if the truth has no foreground."""
        foreground = int(self.pixels_cb[2].sum())
        if not foreground:
            return None
        false_t, true_t = _above(_binary(self.pixels_cb))
        return true_t / (foreground + false_t)

    @property
    def best(self) -> int | None:
        """Index into THRESHOLDS of the greatest IoU_FG, the lowest of equals; None if it is undefined."""
        iou_fg_t = self.iou_fg_t
        return None if iou_fg_t is None else int(np.argmax(iou_fg_t))

    @property
    def average_precision(self) -> float | None:
        """AP over pixels; None if the truth has no foreground."""
        return average_precision(_binary(self.pixels_cb))

    @property
    def published_ap(self) -> float | None:
        """AP as CLIPSeg's authors compute it; None if the truth has no foreground, or no threshold a pixel above it."""
        false_t, true_t = _above(_binary(self.pixels_cb))
        return published_ap(true_t, false_t, int(self.pixels_cb[2].sum()))

    @property
    def average_precision_images(self) -> float | None:
        """AP of the score as a sign that the thing is there, over images; None if it is in none or in all."""
        return average_precision(self.images_cb) if self.images_cb[0].any() else None


def average_precision(counts_cb: np.ndarray) -> float | None:
    """AP of a pair of histograms, int64 [2, BINS]: negatives and positives; None without positives."""
    false_b, true_b = np.cumsum(counts_cb[:, ::-1], axis=1)
    if not true_b[-1]:
        return None
    steps_b = counts_cb[1, ::-1]
    some_b = steps_b > 0
    precision_b = true_b[some_b] / (true_b + false_b)[some_b]
    return float((steps_b[some_b] * precision_b).sum() / true_b[-1])


def _binary(pixels_cb: np.ndarray) -> np.ndarray:
    """Background and foreground, wherever the background is."""
    return np.stack([pixels_cb[0] + pixels_cb[1], pixels_cb[2]])


def _split(counts_b: np.ndarray, edge: int) -> tuple[int, int]:
    """How many lie at or below the threshold, and above it."""
    return int(counts_b[:edge].sum()), int(counts_b[edge:].sum())


def _above(counts_cb: np.ndarray) -> np.ndarray:
    """How many lie above each of THRESHOLDS: int64 [2, T]."""
    from_top_cb = np.cumsum(counts_cb[:, ::-1], axis=1, dtype=np.int64)[:, ::-1]
    return from_top_cb[:, _EDGES_T]


def _overlaps(counts_cb: np.ndarray) -> np.ndarray:
    """int64 [3, T]: pixels in mask and truth, in the mask alone, in the truth alone, above each of THRESHOLDS."""
    false_t, true_t = _above(counts_cb)
    return np.stack([true_t, false_t, counts_cb[1].sum() - true_t])


def bin_of(probability: float) -> int:
    """The bin of one probability. Raises ValueError outside 0…1."""
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
