"""The measures of a group of queries, as they stand in a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from clipseg_ray.evaluation.tally import Tally


@dataclass(frozen=True, kw_only=True)
class Scores:
    """None where undefined; see ``tally`` for what makes it so."""

    queries: int
    """Queries asked."""
    images_present: int
    """(image, query) pairs where the thing is there."""
    images_absent: int
    """(image, query) pairs where it is not."""
    threshold: float | None
    """Probability above which a pixel is inside; None where the queries have several."""
    best_threshold: float | None
    """The one threshold with the greatest IoU_FG here."""
    iou_fg: float | None
    """IoU of the foreground, pixels pooled over images and queries."""
    iou_bin: float | None
    """Mean of the IoU of foreground and background, pixels pooled."""
    miou: float | None
    """Mean over the queries of each one's IoU_FG."""
    miou_seen: float | None = None
    """That of the queries which a row's ``unseen`` does not name."""
    miou_unseen: float | None = None
    """That of those it names."""
    miou_harmonic: float | None = None
    """The harmonic mean of both."""
    iou_per_image: float | None
    """Mean over the present pairs of each one's own IoU (PhraseCut's mIoU)."""
    iou_border: float | None
    """IoU of the pixels within 6 of the true border, pooled over the present pairs (see ``regions``)."""
    iou_border_diagonal: float | None
    """The same within 1 % of the image's diagonal."""
    iou_small: float | None
    """IoU over the present pairs whose thing is less than 2 % of its image, pixels pooled."""
    iou_medium: float | None
    """Of those from 2 % to less than 10 %."""
    iou_large: float | None
    """Of those of 10 % and more."""
    accuracy_5: float | None
    """Share of the present pairs whose own IoU is above 0.5 (PhraseCut's accuracy)."""
    accuracy_7: float | None
    """The same above 0.7."""
    accuracy_9: float | None
    """The same above 0.9."""
    ap: float | None
    """Average precision over pixels, pooled."""
    map: float | None
    """Mean over the queries of each one's AP."""
    ap_clipseg: float | None
    """What CLIPSeg's authors publish as AP, over the same pixels: see ``published_ap``."""
    precision: float | None
    """Share of predicted pixels that are true, pooled."""
    recall: float | None
    """Share of true pixels that are predicted, pooled."""
    absent_silent: float | None
    """Share of the absent pairs that got no mask: their score is not above the threshold."""
    present_found: float | None
    """Share of the present pairs that got one."""
    presence_accuracy: float | None
    """Share of all pairs that got a mask just if the thing is there."""
    object_probability: float | None = None
    """Mean over the pairs of CLIP's probability of the thing's name, among those of the picture (``prompt_study``)."""
    object_gain: float | None = None
    """How much that is above the probability which the picture has as it is."""
    ap_images: float | None
    """Average precision of the score as a sign that the thing is there, over the pairs; needs pairs of both sorts."""

    @classmethod
    def of(
        cls,
        tallies: Sequence[Tally],
        *,
        threshold: float | None,
        best_threshold: float | None,
        ap: float | None,
        each_ap: Iterable[float | None],
        ap_clipseg: float | None,
        ap_images: float | None,
    ) -> Scores:
        """Of one tally a query, each at its own threshold."""
        total = sum(tallies, Tally())
        return cls(
            queries=len(tallies),
            images_present=total.present,
            images_absent=total.absent,
            threshold=threshold,
            best_threshold=best_threshold,
            iou_fg=total.iou_fg,
            iou_bin=total.iou_bin,
            miou=_mean(tally.iou_fg for tally in tallies),
            iou_per_image=total.iou_per_image,
            iou_border=total.border.iou,
            iou_border_diagonal=total.border_diagonal.iou,
            iou_small=total.small.iou,
            iou_medium=total.medium.iou,
            iou_large=total.large.iou,
            accuracy_5=total.accuracy(5),
            accuracy_7=total.accuracy(7),
            accuracy_9=total.accuracy(9),
            ap=ap,
            map=_mean(each_ap),
            ap_clipseg=ap_clipseg,
            precision=total.precision,
            recall=total.recall,
            absent_silent=total.silent_share,
            present_found=total.found_share,
            presence_accuracy=total.presence_accuracy,
            ap_images=ap_images,
        )


COLUMNS = [
    pa.field(name, pa.int64() if name == "queries" or name.startswith("images") else pa.float64())
    for name in Scores.__dataclass_fields__
]
"""The fields of ``Scores`` as columns."""


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
