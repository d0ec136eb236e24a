"""What verdicts on some images say of all: which share of found images is right, which share of right ones is found.

An image is found where its score, the greatest probability of any pixel, is above the threshold. Each verdict stands
for the images of its stratum: its weight is their number over the number of verdicts there. The shares are those of
weighted counts; they are about images, and say nothing of which pixels are right.

The intervals are of a bootstrap of both draws, of the images out of the many that a run will see, and of those that
were asked about out of these: the sizes of strata are drawn from a Dirichlet distribution of their counts, the weights
of verdicts within one from that of shape (n − 2) / n each, whose spread is that of a sample's mean where there are few.
A stratum in which all verdicts are alike has no spread of its own, so each has PRIOR of a verdict "there" and as much
of "not there" besides, spread over its scores; what was counted is always inside. A plain bootstrap's intervals cover
half of what they say (``jobs/BENCHMARKS.md``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from clipseg_ray.verdicts.asking import strata_of

RESAMPLES = 1000
PRIOR = 0.2
_SMALLEST_SHAPE = 1 / 3
_BOUNDS = (0.025, 0.975)


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share from 0 to 1 with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A threshold of images. low, high: what 95 of a hundred resamples would choose.

    right: of found images. found: of right images. images: how many of the sample are found. The shares are less what
    choosing the best of many thresholds flatters them by, as the resamples show it.
    """

    threshold: float
    low: float
    high: float
    right: Share
    found: Share
    images: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Estimates:
    """At each threshold that verdicts can tell apart, lowest first.

    threshold_t: float64 [t]. right_t: share of found images that are right. found_t: share of right images that are
    found. right_bounds_tb, found_bounds_tb: float64 [t, 2]. images_t: int64 [t], images of the sample that are found.
    verdicts, there: how many verdicts, and how many of them say that it is there. Of single thresholds that were not
    chosen for what they give, the bounds are as they stand.
    """

    threshold_t: np.ndarray
    right_t: np.ndarray
    found_t: np.ndarray
    right_bounds_tb: np.ndarray
    found_bounds_tb: np.ndarray
    images_t: np.ndarray
    verdicts: int
    there: int
    right_rt: np.ndarray
    found_rt: np.ndarray

    def balanced(self) -> Proposal:
        """The threshold with the greatest harmonic mean of both shares, the highest of equals."""
        best_t = _harmonic(self.right_t, self.found_t)
        return self._proposed(
            _last_of_greatest(best_t[None])[0], _last_of_greatest(_harmonic(self.right_rt, self.found_rt))
        )

    def with_precision(self, wished: float) -> Proposal | None:
        """The lowest threshold at which the share of found images that are right is as wished; None where none is."""
        if not (self.right_t >= wished).any():
            return None
        return self._proposed(_first(self.right_t[None] >= wished)[0], _first(self.right_rt >= wished))

    def _proposed(self, chosen: int, chosen_r: np.ndarray) -> Proposal:
        low, high = np.quantile(self.threshold_t[chosen_r], _BOUNDS, method="nearest")
        return Proposal(
            threshold=float(self.threshold_t[chosen]),
            low=float(low),
            high=float(high),
            right=_after_choice(self.right_t, self.right_rt, self.right_bounds_tb, chosen, chosen_r),
            found=_after_choice(self.found_t, self.found_rt, self.found_bounds_tb, chosen, chosen_r),
            images=int(self.images_t[chosen]),
        )


def estimate(scores_n: np.ndarray, verdicts: Mapping[int, bool]) -> Estimates | None:
    """What is known by so many verdicts; None before one says that it is there and one that it is not.

    scores_n: float [n] within 0…1, of all images of the sample. verdicts: by the place of an image, whether the thing
    is there; those that were asked about in the order of ``asking.order``, as far as somebody went and answered.
    Raises ValueError for scores that are none, and IndexError for a verdict on no image.
    """
    scores_n = np.asarray(scores_n, np.float64)
    if not ((scores_n >= 0) & (scores_n <= 1)).all():
        raise ValueError("some scores are not between 0 and 1")
    if len(set(verdicts.values())) < 2:
        return None
    place_v = np.array(sorted(verdicts), np.int64)
    if place_v[0] < 0 or place_v[-1] >= len(scores_n):
        raise IndexError(f"a verdict on image {place_v[-1]} of {len(scores_n)}")
    there_v = np.array([verdicts[place] for place in place_v.tolist()], np.float64)
    stratum_n = _with_verdicts(strata_of(scores_n), place_v)
    threshold_t = _thresholds(scores_n, scores_n[place_v])
    above_vt = scores_n[place_v, None] > threshold_t
    stratum_v = stratum_n[place_v]
    size_s, asked_s = np.bincount(stratum_n), np.bincount(stratum_v)
    weight_v = (size_s / asked_s)[stratum_v]
    right_t, found_t = _shares(weight_v[None], there_v, above_vt)
    share_st = np.stack(
        [(scores_n[stratum_n == stratum, None] > threshold_t).mean(0) for stratum in range(len(size_s))]
    )
    right_rt, found_rt = _resampled(stratum_v, size_s, asked_s, there_v, above_vt=above_vt, share_st=share_st)
    return Estimates(
        threshold_t=threshold_t,
        right_t=right_t[0],
        found_t=found_t[0],
        right_bounds_tb=_bounds(right_rt, right_t[0]),
        found_bounds_tb=_bounds(found_rt, found_t[0]),
        images_t=(scores_n[:, None] > threshold_t).sum(0),
        verdicts=len(place_v),
        there=int(there_v.sum()),
        right_rt=right_rt,
        found_rt=found_rt,
    )


def _with_verdicts(stratum_n: np.ndarray, place_v: np.ndarray) -> np.ndarray:
    """Strata numbered anew, so that each has a verdict: one without is part of the next above, or of the first."""
    asked = np.unique(stratum_n[place_v])
    return np.maximum(np.searchsorted(asked, stratum_n, side="right") - 1, 0)


def _thresholds(scores_n: np.ndarray, asked_v: np.ndarray) -> np.ndarray:
    """Between each score that was asked about and the next lower one of any image."""
    scores = np.unique(np.concatenate([[0.0], scores_n]))
    at = np.searchsorted(scores, np.unique(asked_v[asked_v > 0]))
    return (scores[at] + scores[at - 1]) / 2


def _shares(weight_rv: np.ndarray, there_v: np.ndarray, above_vt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of found images that are right, of right images that are found: float64 [r, t] each."""
    right_rt = (weight_rv * there_v) @ above_vt
    return right_rt / (weight_rv @ above_vt), right_rt / (weight_rv @ there_v)[:, None]


def _resampled(
    stratum_v: np.ndarray,
    size_s: np.ndarray,
    asked_s: np.ndarray,
    there_v: np.ndarray,
    *,
    above_vt: np.ndarray,
    share_st: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The shares in each resample: float64 [r, t]. share_st: of a stratum's images, how many are above a threshold."""
    rng = np.random.default_rng(0)
    size_rs = rng.gamma(size_s, size=(RESAMPLES, len(size_s)))
    shape_s = np.maximum((asked_s - 2) / asked_s, _SMALLEST_SHAPE)
    drawn_rv = rng.gamma(shape_s[stratum_v], size=(RESAMPLES, len(stratum_v)))
    prior_rsk = rng.gamma(PRIOR, size=(RESAMPLES, len(size_s), 2))
    in_stratum_vs = np.eye(len(size_s))[stratum_v]
    unit_rs = size_rs / (drawn_rv @ in_stratum_vs + prior_rsk.sum(2))
    weight_rv = drawn_rv * unit_rs[:, stratum_v]
    there_rs, either_rs = unit_rs * prior_rsk[..., 0], unit_rs * prior_rsk.sum(2)
    right_rt = (weight_rv * there_v) @ above_vt + there_rs @ share_st
    found_rt = weight_rv @ above_vt + either_rs @ share_st
    return right_rt / found_rt, right_rt / ((weight_rv @ there_v) + there_rs.sum(1))[:, None]


def _bounds(value_rt: np.ndarray, value_t: np.ndarray) -> np.ndarray:
    """float64 [t, 2], around what was counted: where all or none are right, 1 or 0 is not ruled out."""
    low_t, high_t = np.quantile(value_rt, _BOUNDS, axis=0)
    return np.column_stack([np.minimum(low_t, value_t), np.maximum(high_t, value_t)])


def _harmonic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return 2 * a * b / np.maximum(a + b, np.finfo(float).tiny)


def _last_of_greatest(values_rt: np.ndarray) -> np.ndarray:
    return values_rt.shape[1] - 1 - values_rt[:, ::-1].argmax(axis=1)


def _first(holds_rt: np.ndarray) -> np.ndarray:
    """The first place in each row that holds, the last of all where none does."""
    return np.where(holds_rt.any(axis=1), holds_rt.argmax(axis=1), holds_rt.shape[1] - 1)


def _after_choice(
    value_t: np.ndarray, value_rt: np.ndarray, bounds_tb: np.ndarray, chosen: int, chosen_r: np.ndarray
) -> Share:
    """A share at a threshold that was chosen for it, less what resamples gain by choosing theirs."""
    gained = max(0.0, float((value_rt[np.arange(len(value_rt)), chosen_r] - value_rt.mean(axis=0)[chosen_r]).mean()))
    low, high = bounds_tb[chosen]
    return Share(value=max(0.0, float(value_t[chosen]) - gained), low=max(0.0, float(low) - gained), high=float(high))
