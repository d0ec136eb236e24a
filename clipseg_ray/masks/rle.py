"""COCO run-length encoding: packed bits to counts, area and box, and counts back to pixels.

The same characters, areas and boxes as ``pycocotools.mask`` gives, many masks at a time and straight into Arrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from clipseg_ray.errors import UserError
from clipseg_ray.masks import edges as kernels
from clipseg_ray.masks import parsing, run_lengths
from clipseg_ray.masks.arrow import string_array


@dataclass(frozen=True)
class Rles:
    """P run-length encoded masks.

    counts: Arrow string array [P]; with height and width each is exactly pycocotools' compressed RLE.
    area: int64 [P], pixels inside.
    bbox: int32 [P, 4], x, y, w, h in pixels as ``pycocotools.mask.toBbox``; zeros for an empty mask.
    """

    counts: pa.Array
    area: np.ndarray
    bbox: np.ndarray


def encode_bits(bits_pn: np.ndarray, height: int, width: int, nonempty_p: np.ndarray | None = None) -> Rles:
    """Encode masks of ``height`` × ``width`` pixels.

    bits_pn: uint8 [P, ceil(height·width/8)], as :class:`clipseg_ray.masks.threshold.Packed` has them: column-major
        pixels, the lowest bit first. Bits past the last pixel are ignored.
    nonempty_p: bool [P], False for masks known to be empty, whose bits are then not looked at.
    """
    check_size(height, width)
    rows = len(bits_pn)
    if bits_pn.dtype != np.uint8 or bits_pn.shape != (rows, (height * width + 7) // 8):
        raise ValueError(f"bits of shape {bits_pn.shape} ({bits_pn.dtype}) are no {height}×{width} masks")
    if nonempty_p is None:
        nonempty_p = np.ones(rows, np.bool_)
    offsets, area, bbox = np.empty(rows + 1, np.int64), np.empty(rows, np.int64), np.empty((rows, 4), np.int32)
    characters = run_lengths.encode_bits(
        np.ascontiguousarray(bits_pn), height, width, np.ascontiguousarray(nonempty_p, np.bool_), offsets, area, bbox
    )
    return Rles(string_array(offsets, characters), area, bbox)


def encode_edges(edges: np.ndarray, edge_offsets: np.ndarray, height: int) -> Rles:
    """Encode P masks of one height given as `clipseg_ray.masks.edges` has them."""
    rows = len(edge_offsets) - 1
    offsets, area, bbox = np.empty(rows + 1, np.int64), np.empty(rows, np.int64), np.empty((rows, 4), np.int32)
    characters = run_lengths.counts_of_edges(edges, edge_offsets, offsets)
    run_lengths.measure_edges(edges, edge_offsets, np.full(rows, height), bbox)
    kernels.area(edges, edge_offsets, area)
    return Rles(string_array(offsets, characters), area, bbox)


def decode(counts: pa.Array | pa.ChunkedArray | Sequence[str | bytes], height: int, width: int) -> np.ndarray:
    """The masks as bool [P, height, width], each column-major in memory; UserError for counts of another size."""
    check_size(height, width)
    if isinstance(counts, pa.ChunkedArray):
        counts = counts.combine_chunks()
    elif not isinstance(counts, pa.Array):
        counts = pa.array([c.encode() if isinstance(c, str) else c for c in counts], pa.large_binary())
    if counts.null_count:
        raise UserError("counts: some are null; every mask, empty ones too, has counts")
    counts = counts.cast(pa.large_binary())
    _, offsets_buffer, data = counts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64, len(counts) + 1, 8 * counts.offset)
    characters = np.frombuffer(data or b"", np.uint8)
    pixels_pn = np.zeros((len(counts), height * width), np.bool_)
    bad = parsing.decode(characters, offsets, pixels_pn)
    if bad >= 0:
        raise UserError(f"counts: row {bad} is no run-length encoding of {height}×{width} pixels; check the size")
    return pixels_pn.reshape(-1, width, height).transpose(0, 2, 1)


def area_of_bits(bits_pn: np.ndarray) -> np.ndarray:
    """int64 [P], pixels inside each mask of packed bits (bits past the last pixel must be 0)."""
    return np.bitwise_count(bits_pn).sum(1, dtype=np.int64)


def empty(rows: int, height: int, width: int) -> Rles:
    """So many masks without a pixel inside."""
    bits_pn = np.zeros((1, (height * width + 7) // 8), np.uint8)
    one = encode_bits(bits_pn, height, width, np.zeros(1, np.bool_))
    return Rles(one.counts.take(pa.array(np.zeros(rows, np.int64))), one.area.repeat(rows), one.bbox.repeat(rows, 0))


def concatenate(parts: Sequence[Rles]) -> Rles:
    """The masks of all parts in their order, which may be of several sizes; at least one part."""
    return Rles(
        pa.concat_arrays([part.counts for part in parts]),
        np.concatenate([part.area for part in parts]),
        np.concatenate([part.bbox for part in parts]),
    )


def check_size(height: int, width: int) -> None:
    """UserError unless there are pixels and a 32-bit index can name them, as COCO's counts require."""
    if height < 1 or width < 1 or height * width >= 2**31:
        raise UserError(f"mask of {height}×{width} pixels: sides must be at least 1 and pixels fewer than 2^31")
