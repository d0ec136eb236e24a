"""Machine code of the mask algebra: masks as the edges of their runs, combined and measured without being drawn.

P masks are two arrays: ``edges`` (int32), in which every mask's edges are followed by its number of pixels, and
``offsets`` (int64 [P + 1]), where each mask begins. An edge is the column-major index of a pixel that differs from the
one before it, as in `runs`; a mask's edges ascend strictly. The first, third, … begin runs inside.
"""

import numpy as np
from numba import njit

from clipseg_ray.masks.compiled import compiled


@njit(error_model="numpy")
def _merge(a: np.ndarray, b: np.ndarray, table: int, out: np.ndarray) -> int:
    """Write one combined mask; return its length. Which mask has the next edge is no branch: it cannot be predicted."""
    i, j, n = 0, 0, 0
    which, inside = 0, 0
    end = a[-1]
    while True:
        next_a, next_b = a[i], b[j]
        at = min(next_a, next_b)
        if at == end:
            break
        from_a, from_b = int(next_a == at), int(next_b == at)
        i += from_a
        j += from_b
        which ^= 2 * from_a + from_b
        now = (table >> which) & 1
        out[n] = at
        n += now ^ inside
        inside = now
    out[n] = end
    return n + 1


@compiled
def combine(
    a: np.ndarray,
    a_offsets: np.ndarray,
    b: np.ndarray,
    b_offsets: np.ndarray,
    table: int,
    out: np.ndarray,
    out_offsets: np.ndarray,
) -> None:
    """Fill ``out`` (as long as ``a`` and ``b`` together) and its offsets with each pair's combination.

    The masks of a pair have as many pixels. Bit 2a + b of ``table`` says whether a pixel is inside that is (1) or is
    not (0) inside a and b; bit 0 must be 0.
    """
    n = 0
    out_offsets[0] = 0
    for p in range(len(out_offsets) - 1):
        n += _merge(a[a_offsets[p] : a_offsets[p + 1]], b[b_offsets[p] : b_offsets[p + 1]], table, out[n:])
        out_offsets[p + 1] = n


@compiled
def unite(edges: np.ndarray, offsets: np.ndarray, groups: np.ndarray, out: np.ndarray, out_offsets: np.ndarray) -> None:
    """Fill ``out`` (P longer than ``edges``) and its offsets with the union of each group of masks.

    Group g is the masks from ``groups[g]`` up to ``groups[g + 1]``, all of as many pixels; none gives one of 0 pixels.
    """
    united, merged = np.empty(len(edges) + 1, np.int32), np.empty(len(edges) + 1, np.int32)
    n = 0
    out_offsets[0] = 0
    for g in range(len(groups) - 1):
        united[0] = edges[offsets[groups[g] + 1] - 1] if groups[g] < groups[g + 1] else 0
        m = 1
        for p in range(groups[g], groups[g + 1]):
            m = _merge(united[:m], edges[offsets[p] : offsets[p + 1]], 0b1110, merged)
            united, merged = merged, united
        out[n : n + m] = united[:m]
        n += m
        out_offsets[g + 1] = n


@njit(error_model="numpy")
def _area(own: np.ndarray) -> int:
    area = 0
    for i in range(0, len(own) - 1, 2):
        area += own[i + 1] - own[i]
    return area


@compiled
def area(edges: np.ndarray, offsets: np.ndarray, area_p: np.ndarray) -> None:
    """Fill the pixels inside each mask."""
    for p in range(len(area_p)):
        area_p[p] = _area(edges[offsets[p] : offsets[p + 1]])


@njit(error_model="numpy")
def _both(a: np.ndarray, b: np.ndarray) -> int:
    """Pixels inside both masks."""
    i, j, both = 0, 0, 0
    inside_a, inside_b, before = 0, 0, 0
    end = a[-1]
    while True:
        next_a, next_b = a[i], b[j]
        at = min(next_a, next_b)
        both += int(at - before) * (inside_a & inside_b)
        if at == end:
            return both
        from_a, from_b = int(next_a == at), int(next_b == at)
        i += from_a
        j += from_b
        inside_a ^= from_a
        inside_b ^= from_b
        before = at


@compiled
def overlap(
    a: np.ndarray,
    a_offsets: np.ndarray,
    b: np.ndarray,
    b_offsets: np.ndarray,
    both_p: np.ndarray,
    either_p: np.ndarray,
) -> None:
    """Fill the pixels inside both masks of each pair, and those inside either."""
    for p in range(len(both_p)):
        own_a, own_b = a[a_offsets[p] : a_offsets[p + 1]], b[b_offsets[p] : b_offsets[p + 1]]
        both_p[p] = _both(own_a, own_b)
        either_p[p] = _area(own_a) + _area(own_b) - both_p[p]


@compiled
def area_in_box(
    edges: np.ndarray, offsets: np.ndarray, height_p: np.ndarray, box_p4: np.ndarray, inside_p: np.ndarray
) -> None:
    """Fill the pixels of each mask inside its box (int64 x, y, w, h, within the grid)."""
    for p in range(len(height_p)):
        own = edges[offsets[p] : offsets[p + 1]]
        height = height_p[p]
        left, top, width, rows = box_p4[p]
        inside = 0
        for i in range(0, len(own) - 1, 2):
            start, end = int(own[i]), int(own[i + 1])
            for x in range(max(left, start // height), min(left + width, (end - 1) // height + 1)):
                upper, lower = max(start, x * height + top), min(end, x * height + top + rows)
                inside += max(lower - upper, 0)
        inside_p[p] = inside


@compiled
def centroid(edges: np.ndarray, offsets: np.ndarray, height_p: np.ndarray, xy_p2: np.ndarray) -> None:
    """Fill the mean column and row of the pixels inside each mask; NaN if it is empty."""
    for p in range(len(height_p)):
        own = edges[offsets[p] : offsets[p + 1]]
        height = height_p[p]
        area, sum_x, sum_y = 0, 0, 0
        for i in range(0, len(own) - 1, 2):
            start, end = int(own[i]), int(own[i + 1])
            area += end - start
            for x in range(start // height, (end - 1) // height + 1):
                first, behind = max(start - x * height, 0), min(end - x * height, height)
                sum_x += x * (behind - first)
                sum_y += (first + behind - 1) * (behind - first)
        xy_p2[p, 0], xy_p2[p, 1] = (sum_x / area, sum_y / (2 * area)) if area else (np.nan, np.nan)


@njit(error_model="numpy")
def _first_source(size_in: int, size_out: int, first: np.ndarray) -> None:
    """``first[r]`` (r up to and including ``size_in``): the first output index whose source index is r or more.

    The source of an output pixel is the one that holds its centre: floor((i + 0.5) · size_in / size_out).
    """
    for r in range(size_in + 1):
        first[r] = min(max((2 * r * size_out - size_in + 2 * size_in - 1) // (2 * size_in), 0), size_out)


@njit(error_model="numpy")
def _toggle(out: np.ndarray, start: int, n: int, at: int) -> int:
    """Add an edge to the n - start of a mask; two at one pixel are none. Returns the new n."""
    if n > start and out[n - 1] == at:
        return n - 1
    out[n] = at
    return n + 1


@njit(error_model="numpy")
def grown(out: np.ndarray, n: int, room: int) -> np.ndarray:
    """``out``, of which n are used, with room for so many more."""
    if n + room <= len(out):
        return out
    larger = np.empty(2 * (n + room), np.int32)
    larger[:n] = out[:n]
    return larger


@compiled
def resize(
    edges: np.ndarray,
    offsets: np.ndarray,
    height_p: np.ndarray,
    width_p: np.ndarray,
    new_height_p: np.ndarray,
    new_width_p: np.ndarray,
    out_offsets: np.ndarray,
) -> np.ndarray:
    """Return the masks at their new sizes, every pixel that of the nearest centre, and fill their offsets."""
    out = np.empty(4 * len(edges) + 64, np.int32)
    n = 0
    out_offsets[0] = 0
    for p in range(len(height_p)):
        own = edges[offsets[p] : offsets[p + 1]]
        height, new_height, new_width = height_p[p], new_height_p[p], new_width_p[p]
        first_row, first_column = np.empty(height + 1, np.int64), np.empty(width_p[p] + 1, np.int64)
        _first_source(height, new_height, first_row)
        _first_source(width_p[p], new_width, first_column)
        start_of_own = n
        i = 0  # edges before the source column
        for column in range(width_p[p]):
            j = i
            while own[j] < min((column + 1) * height, own[-1]):
                j += 1
            out = grown(out, n, 1 + (j - i + 1) * (first_column[column + 1] - first_column[column]))
            for x in range(first_column[column], first_column[column + 1]):
                # The column from its top: inside if so many edges come before it, then each of its own.
                if (n - start_of_own) % 2 != i % 2:
                    n = _toggle(out, start_of_own, n, x * new_height)
                for k in range(i, j):
                    n = _toggle(out, start_of_own, n, x * new_height + first_row[own[k] - column * height])
            i = j
        if n == start_of_own or out[n - 1] != new_height * new_width:
            out[n] = new_height * new_width
            n += 1
        out_offsets[p + 1] = n
    return out[:n]


@compiled
def complement(edges: np.ndarray, offsets: np.ndarray, out: np.ndarray, out_offsets: np.ndarray) -> None:
    """Fill ``out`` (P longer than ``edges``) and its offsets with the pixels not inside each mask."""
    n = 0
    out_offsets[0] = 0
    for p in range(len(offsets) - 1):
        start, end = offsets[p], offsets[p + 1]
        if edges[start] == 0 and end - start > 1:
            start += 1
        elif edges[end - 1] > 0:
            out[n] = 0
            n += 1
        out[n : n + end - start] = edges[start:end]
        n += end - start
        out_offsets[p + 1] = n


@compiled
def crop(
    edges: np.ndarray, offsets: np.ndarray, height_p: np.ndarray, box_p4: np.ndarray, out_offsets: np.ndarray
) -> np.ndarray:
    """Return what of the masks is in their boxes (int64 x, y, w, h; sides ≥ 1), of the boxes' sizes; fill offsets."""
    out = np.empty(len(edges) + 64, np.int32)
    n = 0
    out_offsets[0] = 0
    for p in range(len(height_p)):
        own = edges[offsets[p] : offsets[p + 1]]
        height = height_p[p]
        left, top, width, rows = box_p4[p]
        start_of_own = n
        for i in range(0, len(own) - 1, 2):
            start, end = int(own[i]), int(own[i + 1])
            first, behind = max(start // height, left), min((end - 1) // height + 1, left + width)
            out = grown(out, n, 2 * max(behind - first, 0))
            for column in range(first, behind):
                upper = max(start - column * height, max(top, 0))
                lower = min(end - column * height, min(top + rows, height))
                if upper < lower:
                    n = _toggle(out, start_of_own, n, (column - left) * rows + upper - top)
                    n = _toggle(out, start_of_own, n, (column - left) * rows + lower - top)
        if n == start_of_own or out[n - 1] != width * rows:
            out = grown(out, n, 1)
            out[n] = width * rows
            n += 1
        out_offsets[p + 1] = n
    return out[:n]
