"""Several masks of one image as one map of labels.

The rule: a pixel's label is that of the mask with the highest ``score_mean`` among those that cover it, of equal ones
that of the lower number; 0 where none does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from clipseg_ray.masks import rle

if TYPE_CHECKING:  # an overlay of one picture need not wait for what reads datasets
    from clipseg_ray.report.export.walk import ExportChunk

RULE = (
    "a pixel's label is that of the mask with the highest score_mean among those that cover it (of equal ones the "
    "lower label), 0 where none does; masks on the model's grid are resized to the image by nearest pixel centre"
)


def masks_by_image(chunk: ExportChunk) -> Iterator[tuple[dict[str, Any], pa.Table]]:
    """(row of ``images``, its masks) for every image of the chunk."""
    bounds = np.searchsorted(chunk.masks["image"].to_numpy(), np.arange(len(chunk.images) + 1))
    for index, row in enumerate(chunk.images.to_pylist()):
        yield row, chunk.masks.slice(bounds[index], bounds[index + 1] - bounds[index])


def labels_of(masks: pa.Table, label_p: np.ndarray) -> np.ndarray:
    """The map on the masks' own grid: int32 [h, w]. At least one mask, all on one grid, none empty.

    label_p: int [P], above 0, rising with the mask's category.
    """
    (height, width), *others = {*zip(masks["height"].to_pylist(), masks["width"].to_pylist(), strict=True)}
    if others:
        raise ValueError("masks of one image on several grids")
    pixels_phw = rle.decode(masks["counts"], height, width)
    labels_hw = np.zeros((height, width), np.int32)
    for index in np.lexsort((-label_p, masks["score_mean"].to_numpy())):  # the last one painted shows
        labels_hw[pixels_phw[index]] = label_p[index]
    return labels_hw


def resized(labels_hw: np.ndarray, height: int, width: int) -> np.ndarray:
    """The map at another size, every pixel that of the nearest centre, as ``masks.algebra.resize`` has it."""
    rows = (2 * np.arange(height) + 1) * labels_hw.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * labels_hw.shape[1] // (2 * width)
    return labels_hw[rows[:, None], columns]
