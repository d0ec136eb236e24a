"""Scores, boxes and run lengths of a batch of masks as the columns of the masks table."""

import numpy as np
import pyarrow as pa

from clipseg_ray.masks.arrow import BBOX, array, struct
from clipseg_ray.masks.rle import Rles


def columns(
    rles: Rles,
    height: int | np.ndarray,
    width: int | np.ndarray,
    max_logit_p: np.ndarray,
    probability_sum_p: np.ndarray,
    grid_area_p: np.ndarray | None = None,
) -> dict[str, pa.Array]:
    """Columns for P masks: score, score_mean, area, coverage, bbox, counts.

    rles, height, width: the masks and their size in pixels (one for all, or int [P]).
    max_logit_p, probability_sum_p: float32 [P], from :class:`clipseg_ray.masks.threshold.Packed`.
    grid_area_p: int64 [P], pixels inside on the model's grid, where ``rles`` are not on that grid (masks at image
        size): see :func:`clipseg_ray.masks.rle.area_of_bits`.

    score (float32, probability) and score_mean (float32, mean probability inside the mask) are always those of the
    model's grid; area (int64, pixels), coverage (float32, area / pixels), bbox (struct of int32 x, y, w, h) and
    counts (string) are those of ``rles``. score_mean is null for an empty mask: empty in ``rles`` or on the grid.
    """
    grid_area_p = rles.area if grid_area_p is None else grid_area_p
    with np.errstate(over="ignore"):  # a logit far below 0 is a probability of 0
        score_p = 1.0 / (1.0 + np.exp(-max_logit_p.astype(np.float64)))
    mean_p = probability_sum_p / np.maximum(grid_area_p, 1)
    coverage_p = rles.area / (np.asarray(height, np.int64) * np.asarray(width, np.int64))
    empty_p = (rles.area == 0) | (grid_area_p == 0)
    return {
        "score": array(score_p.astype(np.float32)),
        "score_mean": pa.array(mean_p.astype(np.float32), mask=empty_p),
        "area": array(rles.area),
        "coverage": array(coverage_p.astype(np.float32)),
        "bbox": struct(BBOX, rles.bbox),
        "counts": rles.counts,
    }
