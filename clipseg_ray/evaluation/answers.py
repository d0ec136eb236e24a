"""Masks as they were given, compared with the truth: one threshold, the run's own, so tallies instead of histograms."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from clipseg_ray.evaluation.counting import BINS
from clipseg_ray.evaluation.counts import average_precision, bin_of
from clipseg_ray.evaluation.metrics import AskedQuery, Chosen
from clipseg_ray.evaluation.regions import REGIONS, bands, size_of
from clipseg_ray.evaluation.scores import Scores
from clipseg_ray.evaluation.tally import SHARE, TENTHS, Overlap, Tally


@dataclass(eq=False)
class Answer:
    """What one query got: the tallies of the images without the thing and with it; images_cb as in ``Counts``."""

    absent: Tally = field(default_factory=Tally)
    present: Tally = field(default_factory=Tally)
    images_cb: np.ndarray = field(default_factory=lambda: np.zeros((2, BINS), np.int64))


class Answers:
    """Mergeable counts of given masks, per query.

    images_missing: images without any masks. masks_missing: further (image, query) pairs without one. Neither
    is counted as an answer.
    """

    def __init__(self) -> None:
        self.answers: dict[AskedQuery, Answer] = {}
        self.images_missing = 0
        self.masks_missing = 0

    def update(
        self,
        asked: AskedQuery,
        mask_hw: np.ndarray | None,
        label_hw: np.ndarray | None,
        ignore_hw: np.ndarray | None,
        score: float,
        size: int,
    ) -> None:
        """Count one mask.

        mask_hw, label_hw: bool [h, w] at the truth's size; None where empty. ignore_hw: pixels that count for nothing.
        score: of the mask, 0…1. size: pixels of the image.
        """
        border_of_hw = label_hw
        if ignore_hw is not None:
            size -= _number(ignore_hw)
            mask_hw, label_hw = (None if each is None else each & ~ignore_hw for each in (mask_hw, label_hw))
        if not size:
            return
        inside, true = _number(mask_hw), _number(label_hw)
        both = 0 if mask_hw is None or label_hw is None else _number(mask_hw & label_hw)
        pixels = Tally(
            true_positive=both,
            false_positive=inside - both,
            false_negative=true - both,
            true_negative=size - inside - true + both,
        )
        answer = self.answers.setdefault(asked, Answer())
        answer.images_cb[int(true > 0), bin_of(score)] += 1
        found = int(inside > 0)
        if true:
            assert label_hw is not None
            assert border_of_hw is not None
            union = inside + true - both
            above_5, above_7, above_9 = (int(10 * both > tenths * union) for tenths in TENTHS)
            overlaps_r = [Overlap()] * len(REGIONS)
            overlaps_r[size_of(true, size)] = Overlap(both, inside - both, true - both)
            for region, near_hw in bands(border_of_hw):
                overlaps_r[region] = _overlap(mask_hw, label_hw, near_hw)
            counted = replace(
                pixels,
                present_found=found,
                present_silent=1 - found,
                share_sum=both * SHARE // union,
                above_5=above_5,
                above_7=above_7,
                above_9=above_9,
            )
            answer.present += counted.with_regions(overlaps_r)
        else:
            answer.absent += replace(pixels, absent_found=found, absent_silent=1 - found)

    def merge(self, other: Answers) -> None:
        """Add what another has counted."""
        for asked, theirs in other.answers.items():
            mine = self.answers.setdefault(asked, Answer())
            mine.absent += theirs.absent
            mine.present += theirs.present
            mine.images_cb = mine.images_cb + theirs.images_cb
        self.images_missing += other.images_missing
        self.masks_missing += other.masks_missing

    def scores(self, chosen: Chosen, *, present_only: bool = False) -> Scores:
        """The chosen queries' measures; AP over pixels is undefined, for masks have no probabilities."""
        each = [answer for asked, answer in self.answers.items() if chosen(asked)]
        images_cb = sum((answer.images_cb for answer in each), np.zeros((2, BINS), np.int64))
        return Scores.of(
            [answer.present if present_only else answer.absent + answer.present for answer in each],
            threshold=None,
            best_threshold=None,
            ap=None,
            each_ap=(),
            ap_clipseg=None,
            ap_images=None if present_only or not images_cb[0].any() else average_precision(images_cb),
        )


def _overlap(mask_hw: np.ndarray | None, label_hw: np.ndarray, near_hw: np.ndarray) -> Overlap:
    """Among the pixels ``near_hw`` alone."""
    true_hw = label_hw & near_hw
    if mask_hw is None:
        return Overlap(truth=_number(true_hw))
    inside, both = _number(mask_hw & near_hw), _number(mask_hw & true_hw)
    return Overlap(both, inside - both, _number(true_hw) - both)


def _number(plane_hw: np.ndarray | None) -> int:
    """Pixels inside."""
    return 0 if plane_hw is None else int(np.count_nonzero(plane_hw))
