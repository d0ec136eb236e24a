"""What comes out of the engine: masks with their scores, some rows at a time."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Block:
    """Some rows of masks, on the host.

    image_index_p, query_index_p: int64, into the images and the film given. bits_pn, max_logit_p (NaN where a logit
    is not finite), probability_sum_p: see `masks.threshold.Packed`. presence_p: float32 cosine of the image's and
    the query's CLIP projections, of an engine made with `presence`. heat_phw: see `masks.heat.quantised`, of an
    engine made with `heat`. logits_kwh: float32 [k, w, h] for the rows logits_row_k of this block, those whose
    maximum is above the threshold, where logits were wanted.

    From a GPU the arrays lie in pinned memory, which is dear: take what is needed and let the block go.
    """

    image_index_p: np.ndarray
    query_index_p: np.ndarray
    bits_pn: np.ndarray
    max_logit_p: np.ndarray
    probability_sum_p: np.ndarray
    presence_p: np.ndarray | None = None
    heat_phw: np.ndarray | None = None
    logits_row_k: np.ndarray | None = None
    logits_kwh: np.ndarray | None = None
