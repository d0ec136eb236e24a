"""The masks of a block at the size of their images, from the logits that came with it."""

import numpy as np
import pyarrow as pa

from clipseg_ray.masks.contest_resize import encode_contest_at_size
from clipseg_ray.masks.resize import encode_at_size
from clipseg_ray.masks.rle import Rles, concatenate, empty
from clipseg_ray.model.block import Block


def encode_at_image_size(block: Block, heights: np.ndarray, widths: np.ndarray, threshold_p: np.ndarray) -> Rles:
    """Encode a block that was segmented with ``want_logits``.

    heights, widths: int [p], of each row's image in pixels. threshold_p: float32 [p], as logits.
    """
    return (_contests if block.met else _alone)(block, heights, widths, threshold_p)


def _alone(block: Block, heights: np.ndarray, widths: np.ndarray, threshold_p: np.ndarray) -> Rles:
    """Rows of one image stand together and share its size."""
    if block.logits_row_k is None or block.logits_kwh is None:
        raise ValueError("masks at image size need the logits; ask the engine for them")
    changes = np.flatnonzero(np.diff(block.image_index_p)) + 1
    found = []
    for rows in np.split(np.arange(len(threshold_p)), changes):
        height, width = int(heights[rows[0]]), int(widths[rows[0]])
        inside_k = (block.logits_row_k >= rows[0]) & (block.logits_row_k <= rows[-1])
        row_k = block.logits_row_k[inside_k]
        encoded = encode_at_size(block.logits_kwh[inside_k], height, width, threshold_p[row_k])
        # Row 0 of the joined pair is the empty mask; rows without logits point at it.
        pick = np.zeros(len(rows), np.int64)
        pick[row_k - rows[0]] = 1 + np.arange(len(row_k))
        joined = concatenate([empty(1, height, width), encoded])
        found.append(Rles(joined.counts.take(pa.array(pick)), joined.area[pick], joined.bbox[pick]))
    return concatenate(found)


def _contests(block: Block, heights: np.ndarray, widths: np.ndarray, threshold_p: np.ndarray) -> Rles:
    """Each contest is on one image."""
    found = []
    for met in block.met:
        height, width = int(heights[met.start]), int(widths[met.start])
        queries = len(met.contest.outputs)
        if met.logits_mwh is None:
            found.append(empty(queries, height, width))
        else:
            limit_k = threshold_p[met.start : met.start + queries]
            found.append(encode_contest_at_size(met.contest, met.logits_mwh, height, width, limit_k))
    return concatenate(found)
