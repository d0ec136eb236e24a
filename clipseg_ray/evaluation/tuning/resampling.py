"""One query's pixels at every threshold, over a set of images and over resamples of it.

A resample weights each image by a number drawn from Poisson(1), by the image alone: the streaming form of the bootstrap
(Chamandy et al. 2012), in which counts stay integers that add up in any order, wherever images are counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from clipseg_ray.evaluation.counting import BINS, count
from clipseg_ray.evaluation.counts import THRESHOLDS

RESAMPLES = 400
_NOWHERE = np.zeros(0, np.bool_)
_EDGES_T = np.round(np.array(THRESHOLDS) * BINS).astype(np.int64)


def weights_of(image_sha256: str) -> np.ndarray:
    """How often an image is in each sample: int64 [1 + RESAMPLES]; first the set itself, which has it once."""
    drawn_r = np.random.default_rng(int(image_sha256[:16], 16)).poisson(1.0, RESAMPLES)
    return np.concatenate([[1], drawn_r])


@dataclass(eq=False, kw_only=True)
class ResampledCounts:
    """Mergeable counts of one query; a pixel is inside where its probability is above the threshold.

    own: a threshold to be compared with, as near as 1 / BINS. true_rt, false_rt: int64 [1 + RESAMPLES, T + 1], right
    and wrong pixels inside at each of THRESHOLDS and at ``own``. foreground_r: int64 [1 + RESAMPLES], true pixels.
    present, absent: images with and without the thing.
    """

    own: float
    true_rt: np.ndarray = field(default_factory=lambda: _zeros(len(THRESHOLDS) + 1))
    false_rt: np.ndarray = field(default_factory=lambda: _zeros(len(THRESHOLDS) + 1))
    foreground_r: np.ndarray = field(default_factory=lambda: _zeros(1)[:, 0])
    present: int = 0
    absent: int = 0

    def update(
        self,
        probability_wh: np.ndarray,
        label_wh: np.ndarray | None,
        ignored_wh: np.ndarray | None,
        weights_r: np.ndarray,
    ) -> None:
        """Count one image.

        probability_wh: float32 [w, h] within 0…1. label_wh, ignored_wh: bool [w, h], None for nowhere. weights_r: of
        ``weights_of``. Raises ValueError for probabilities that are none.
        """
        planes = [
            _NOWHERE if each is None else np.ascontiguousarray(each).reshape(-1) for each in (label_wh, ignored_wh)
        ]
        found_cb = np.empty((2, BINS), np.int32)
        if not count(np.ascontiguousarray(probability_wh).reshape(-1), *planes, found_cb):
            raise ValueError("some probabilities are not between 0 and 1; give probabilities, not logits")
        if not found_cb.any():
            return  # all of it is to be ignored: the image says nothing
        above_cb = np.cumsum(found_cb[:, ::-1], axis=1, dtype=np.int64)[:, ::-1]
        false_t, true_t = above_cb[:, [*_EDGES_T, min(round(self.own * BINS), BINS - 1)]]
        foreground = int(found_cb[1].sum())
        self.false_rt += weights_r[:, None] * false_t
        self.true_rt += weights_r[:, None] * true_t
        self.foreground_r += weights_r * foreground
        if foreground:
            self.present += 1
        else:
            self.absent += 1

    def __add__(self, other: ResampledCounts) -> ResampledCounts:
        return ResampledCounts(
            own=self.own,
            true_rt=self.true_rt + other.true_rt,
            false_rt=self.false_rt + other.false_rt,
            foreground_r=self.foreground_r + other.foreground_r,
            present=self.present + other.present,
            absent=self.absent + other.absent,
        )

    def best(self) -> Best | None:
        """The threshold with the greatest IoU of the foreground, the lowest of equals; None without a true pixel."""
        if not self.foreground_r[0]:
            return None
        known_r = self.foreground_r > 0
        iou_rt = self.true_rt[known_r] / (self.foreground_r[known_r, None] + self.false_rt[known_r])
        chosen = int(iou_rt[0, :-1].argmax())
        resampled_rt = iou_rt[1:] if len(iou_rt) > 1 else iou_rt
        low, high = np.quantile(np.array(THRESHOLDS)[resampled_rt[:, :-1].argmax(axis=1)], _BOUNDS, method="nearest")
        iou_low, iou_high = np.quantile(resampled_rt[:, chosen], _BOUNDS)
        return Best(
            threshold=THRESHOLDS[chosen],
            bounds=(float(low), float(high)),
            iou_fg=float(iou_rt[0, chosen]),
            iou_bounds=(float(iou_low), float(iou_high)),
            own_iou_fg=float(iou_rt[0, -1]),
        )


_BOUNDS = (0.025, 0.975)


@dataclass(frozen=True, kw_only=True)
class Best:
    """A threshold and what it gives: IoU of the foreground, pixels pooled over all images that were asked.

    bounds, iou_bounds: what 95 of a hundred resamples choose, and what they have at this threshold. own_iou_fg: IoU
    at the threshold that the query had.
    """

    threshold: float
    bounds: tuple[float, float]
    iou_fg: float
    iou_bounds: tuple[float, float]
    own_iou_fg: float


def _zeros(columns: int) -> np.ndarray:
    return np.zeros((1 + RESAMPLES, columns), np.int64)
