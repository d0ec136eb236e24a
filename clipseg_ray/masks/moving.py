"""Masks at another threshold, from the small probability maps kept with them: no model, no GPU."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipseg_ray.errors import UserError
from clipseg_ray.masks.logit import logit_of
from clipseg_ray.masks.resize import encode_at_size
from clipseg_ray.masks.rle import Rles, concatenate

_AT_ONCE = 1024
_LEAST = np.float32(0.5 / 255)
"""What a byte of 0 stands for."""


def heat_column(heat_phw: np.ndarray) -> pa.Array:
    """uint8 [P, side, side] as large_binary [P]; null where all is 0."""
    rows, size = len(heat_phw), heat_phw.shape[1] * heat_phw.shape[2]
    some_p = heat_phw.any((1, 2))
    offsets = np.concatenate([[0], np.cumsum(np.where(some_p, size, 0))]).astype(np.int64)
    kept = np.ascontiguousarray(heat_phw[some_p])
    validity = pa.py_buffer(np.packbits(some_p, bitorder="little"))
    buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(kept.reshape(-1))]
    return pa.Array.from_buffers(pa.large_binary(), rows, buffers)


def masks_at(heat: pa.Array | pa.ChunkedArray, height: np.ndarray, width: np.ndarray, threshold: np.ndarray) -> Rles:
    """The masks of P probability maps at P sizes and thresholds (probabilities between 0 and 1).

    heat: binary [P] as :func:`heat_column` makes it. The map's logits are interpolated bilinearly to height × width,
    as those of the model are for masks at image size, then compared with the threshold's. Raises UserError for what is
    no such map.
    """
    limit_p = logit_of(threshold).astype(np.float32)
    order = np.lexsort((width, height))
    found = []
    for rows in _runs(order, height, width):
        probabilities_pwh = np.clip(_maps(heat.take(pa.array(rows))), _LEAST, 1 - _LEAST)
        own = (int(height[rows[0]]), int(width[rows[0]]))
        found.append(encode_at_size(logit_of(probabilities_pwh), *own, limit_p[rows]))
    joined = (
        concatenate(found)
        if found
        else Rles(pa.array([], pa.string()), np.zeros(0, np.int64), np.zeros((0, 4), np.int32))
    )
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return Rles(joined.counts.take(pa.array(back)), joined.area[back], joined.bbox[back])


def means_inside(heat: pa.Array | pa.ChunkedArray, threshold: np.ndarray) -> pa.Array:
    """float32 [P], the mean probability of the cells above the threshold; null where there is none."""
    means, empty = np.zeros(len(heat), np.float32), np.ones(len(heat), np.bool_)
    for start in range(0, len(heat), _AT_ONCE):
        rows = slice(start, min(start + _AT_ONCE, len(heat)))
        maps = _maps(heat.slice(start, _AT_ONCE))
        inside = maps > threshold[rows, None, None]
        cells = inside.sum((1, 2))
        means[rows] = (maps * inside).sum((1, 2)) / np.maximum(cells, 1)
        empty[rows] = cells == 0
    return pa.array(means, mask=empty)


def probabilities_at(heat: bytes | None, height: int, width: int) -> np.ndarray:
    """One probability map at another size: uint8 [height, width], 255 for 1. heat: a map's bytes, None for all 0.

    Logits are interpolated bilinearly, as ``masks_at`` does.
    """
    import torch  # readers of masks do without

    if heat is None:
        return np.zeros((height, width), np.uint8)
    map_wh = np.clip(_maps(pa.array([heat], pa.large_binary()))[0], _LEAST, 1 - _LEAST)
    logits_11wh = torch.from_numpy(logit_of(map_wh).astype(np.float32))[None, None]
    drawn = torch.nn.functional.interpolate(logits_11wh, (width, height), mode="bilinear", align_corners=False)
    return np.ascontiguousarray((drawn[0, 0].sigmoid() * 255).round().to(torch.uint8).numpy().T)


def rethreshold(heat: pa.Array, height: pa.Array, width: pa.Array, threshold: pa.Array) -> pa.Array:
    """counts at another threshold, string [P]; a null ``heat`` is a map of zeros, any other null gives null."""
    heat, height, width, threshold = (
        column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        for column in (heat, height, width, threshold)
    )
    given = pc.and_(pc.and_(height.is_valid(), width.is_valid()), threshold.is_valid())
    height_p, width_p = (np.asarray(column.cast(pa.int64()).fill_null(1)) for column in (height, width))
    rles = masks_at(heat, height_p, width_p, np.asarray(threshold.cast(pa.float64()).fill_null(0.5)))
    return pc.if_else(given, rles.counts, pa.scalar(None, pa.string()))


def _runs(order: np.ndarray, height: np.ndarray, width: np.ndarray) -> list[np.ndarray]:
    """``order`` cut where the size changes, and so that few maps are in memory at once."""
    changes = np.flatnonzero((np.diff(height[order]) != 0) | (np.diff(width[order]) != 0)) + 1
    own = [part for part in np.split(order, changes) if len(part)]
    return [part[start : start + _AT_ONCE] for part in own for start in range(0, len(part), _AT_ONCE)]


def _maps(heat: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """float32 [P, side, side] of probabilities, transposed as logits are; zeros for null."""
    sizes = {*pc.unique(pc.binary_length(heat)).drop_null().to_pylist()}
    side = math.isqrt(max(sizes, default=1))
    if len(sizes) > 1 or side < 1 or (sizes and sizes != {side * side}):
        raise UserError(f"heat of {' and '.join(map(str, sorted(sizes)))} bytes: must be square maps of one size")
    joined = b"".join(bytes(side * side) if value is None else value for value in heat.to_pylist())
    maps_phw = np.frombuffer(joined, np.uint8).reshape(-1, side, side)
    return np.ascontiguousarray(maps_phw.transpose(0, 2, 1), np.float32) / np.float32(255)
