"""Machine code behind masks at image size: bilinear interpolation as torch rounds it, straight to edges.

Edges are those of ``run_lengths``: column-major indices of pixels that differ from the one before.
"""

import numpy as np
from numba import njit

from clipseg_ray.masks.compiled import above64, compiled, fma32, greater, trailing_zeros

_MANTISSA_SHARE = 2.0**-19  # bilinear interpolation rounds by less than 2⁻²⁰ of the greatest magnitude
_SMALLEST = 1e-37  # and by less than this where numbers are subnormal
_SMALL = 128  # up to this sum of sides torch takes another kernel, with another order of operations


@njit(error_model="numpy")
def _taps(size_in: int, size_out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per output index the lower source index and the two weights, as torch's float32 CPU kernel computes them."""
    lower = np.empty(size_out, np.int64)
    weight_0 = np.empty(size_out, np.float32)
    weight_1 = np.empty(size_out, np.float32)
    scale = np.float32(size_in) / np.float32(size_out)
    for i in range(size_out):
        if size_in == size_out:
            lower[i], weight_0[i], weight_1[i] = i, np.float32(1), np.float32(0)
            continue
        source = fma32(scale, np.float32(i) + np.float32(0.5), np.float32(-0.5))
        source = max(source, np.float32(0))
        lower[i] = min(int(source), size_in - 1)
        weight_1[i] = min(max(np.float32(source - np.float32(lower[i])), np.float32(0)), np.float32(1))
        weight_0[i] = np.float32(1) - weight_1[i]
    return lower, weight_0, weight_1


@njit(error_model="numpy")
def _between(a: np.float32, weight_a: np.float32, b: np.float32, weight_b: np.float32) -> np.float32:
    return fma32(a, weight_a, b * weight_b)


@njit(error_model="numpy")
def _among_four(
    left_h: np.ndarray,
    right_h: np.ndarray,
    i: int,
    j: int,
    weight_0: np.float32,
    weight_1: np.float32,
    weight_y0: np.float32,
    weight_y1: np.float32,
) -> np.float32:
    """A pixel between rows i and j of two columns, in the order of torch's kernel for small outputs."""
    value = right_h[i] * (weight_y0 * weight_1)
    value = fma32(left_h[i], weight_y0 * weight_0, value)
    value = fma32(left_h[j], weight_y1 * weight_0, value)
    return fma32(right_h[j], weight_y1 * weight_1, value)


@njit(error_model="numpy")
def _inside_word(column_h: np.ndarray, k: int, limit: np.float32) -> np.uint64:
    """Bit j says row 64k + j is above ``limit``; 0 past the last row."""
    if 64 * k + 64 <= len(column_h):
        return above64(column_h, 64 * k, limit)
    word = np.uint64(0)
    for j in range(len(column_h) - 64 * k):
        if column_h[64 * k + j] > limit:
            word |= np.uint64(1) << np.uint64(j)
    return word


@njit(error_model="numpy")
def _hulls(logits_wh: np.ndarray, limit: np.float32, first_w: np.ndarray, last_w: np.ndarray) -> None:
    """Per source column the first and last word of 64 rows that may hold a pixel once interpolated.

    Those with a row above ``limit``, and their neighbour where the row at the common border is above it.
    A column without any gets (words, -1).
    """
    words = (logits_wh.shape[1] + 63) // 64
    for x in range(len(logits_wh)):
        first, last = words, -1
        for k in range(words):
            word = _inside_word(logits_wh[x], k, limit)
            if word != np.uint64(0):
                first = min(first, max(k - np.int64(word & np.uint64(1)), 0))
                last = min(k + np.int64(word >> np.uint64(63)), words - 1)
        first_w[x], last_w[x] = first, last


@njit(error_model="numpy")
def _edges_of_resized(logits_wh: np.ndarray, height: int, width: int, limit: np.float32, edges: np.ndarray) -> int:
    """Edges of ``interpolate(logits, (height, width)) > limit``, from as few interpolated pixels as that takes.

    Each output column is a line over the source rows, interpolated between two source columns; pixels lie between
    two rows of the line. Where both rows are clear of the limit on the same side, by more than rounding can move a
    value, so are the pixels between them. Only the rest is computed, with torch's own sequence of operations.
    """
    source_width, source_height = logits_wh.shape
    row_lower, row_weight_0, row_weight_1 = _taps(source_height, height)
    column_lower, column_weight_0, column_weight_1 = _taps(source_width, width)
    words = (source_height + 63) // 64
    first_row = np.full(64 * words + 1, height, np.int64)  # per source row the first pixel at or below it
    row = 0
    for i in range(source_height):
        while row < height and row_lower[row] < i:
            row += 1
        first_row[i] = row

    magnitude = np.float32(0)
    for x in range(source_width):
        column = logits_wh[x]
        for y in range(source_height):
            magnitude = greater(abs(column[y]), magnitude)
    margin = (np.float64(magnitude) + abs(np.float64(limit))) * _MANTISSA_SHARE + _SMALLEST
    upper, lower = np.float32(limit + margin), np.float32(limit - margin)
    first_w, last_w = np.empty(source_width, np.int64), np.empty(source_width, np.int64)
    _hulls(logits_wh, np.float32(limit - 2 * margin), first_w, last_w)

    line = np.empty(64 * words + 1, np.float32)
    fused = height + width > _SMALL
    n = 0
    inside = False
    for x in range(width):
        left = column_lower[x]
        right = min(left + 1, source_width - 1) if width != source_width else left
        weight_0, weight_1 = column_weight_0[x], column_weight_1[x]
        base = x * height
        first, last = min(first_w[left], first_w[right]), max(last_w[left], last_w[right])
        settled = first_row[64 * first] if last >= 0 else height  # pixels above this one are outside
        if settled > 0 and inside:
            edges[n] = base
            n += 1
            inside = False
        if last < 0:
            continue
        left_column, right_column = logits_wh[left], logits_wh[right]
        start, stop = 64 * first, min(64 * last + 64, source_height)
        source_0, source_1, target = left_column[start:stop], right_column[start:stop], line[start:stop]
        for y in range(len(target)):
            target[y] = _between(source_0[y], weight_0, source_1[y], weight_1)
        to_end = stop == source_height
        line[stop : 64 * last + 65] = line[stop - 1]
        above = above64(line, start, upper)
        below = ~above64(line, start, lower)
        stretch = first_row[start]  # first pixel of the stretch of equal, certain pixels
        for k in range(first, last + 1):
            if k < last:
                next_above = above64(line, 64 * k + 64, upper)
                next_below = ~above64(line, 64 * k + 64, lower)
            elif to_end:
                next_above, next_below = above >> np.uint64(63), below >> np.uint64(63)
            else:
                next_above, next_below = np.uint64(0), np.uint64(1)
            certain = above & ((above >> np.uint64(1)) | (next_above << np.uint64(63)))
            certain |= below & ((below >> np.uint64(1)) | (next_below << np.uint64(63)))
            open_rows = ~certain
            while open_rows != np.uint64(0):
                bit = trailing_zeros(open_rows)
                open_rows &= open_rows - np.uint64(1)
                i = 64 * k + bit
                pixel, pixel_end = first_row[i], first_row[i + 1]
                if pixel > stretch and ((above >> np.uint64(bit)) & np.uint64(1) != np.uint64(0)) != inside:
                    edges[n] = base + stretch
                    n += 1
                    inside = not inside
                while pixel < pixel_end:
                    weight_y0, weight_y1 = row_weight_0[pixel], row_weight_1[pixel]
                    if fused:
                        value = _between(line[i], weight_y0, line[i + 1], weight_y1)
                    else:
                        j = min(i + 1, source_height - 1) if height != source_height else i
                        value = _among_four(left_column, right_column, i, j, weight_0, weight_1, weight_y0, weight_y1)
                    if (value > limit) != inside:
                        edges[n] = base + pixel
                        n += 1
                        inside = not inside
                    pixel += 1
                stretch = pixel_end
            above, below = next_above, next_below
        # `above` is now that of the row past the last word: the side of the stretch that reaches down to it
        end = height if to_end else first_row[64 * last + 64]
        if stretch < end and (above & np.uint64(1) != np.uint64(0)) != inside:
            edges[n] = base + stretch
            n += 1
            inside = not inside
        if end < height and inside:
            edges[n] = base + end
            n += 1
            inside = False
    return n


@compiled
def edges_of_resized(
    logits_pwh: np.ndarray, height: int, width: int, threshold_logit_p: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    """Return the edges of the masks at ``height`` × ``width``, each followed by its pixels, and fill their offsets."""
    pixels = height * width
    own = np.empty(pixels + 1, np.int32)
    out = np.empty(512 * len(logits_pwh) + 64, np.int32)
    used = 0
    offsets[0] = 0
    for p in range(len(logits_pwh)):
        n = _edges_of_resized(logits_pwh[p], height, width, threshold_logit_p[p], own)
        own[n] = pixels
        if used + n + 1 > len(out):
            grown = np.empty(2 * (used + n + 1), np.int32)
            grown[:used] = out[:used]
            out = grown
        out[used : used + n + 1] = own[: n + 1]
        used += n + 1
        offsets[p + 1] = used
    return out[:used]


@compiled
def columns_of_resized(logits_pwh: np.ndarray, height: int, width: int, first: int, values_pnh: np.ndarray) -> None:
    """Fill ``values_pnh`` (float32 [P, n, height]) with ``interpolate(logits, (height, width))`` from ``first`` on.

    n columns of pixels, each from its top: torch's own sequence of operations, as in the masks of one query alone.
    """
    source_width, source_height = logits_pwh.shape[1:]
    row_lower, row_weight_0, row_weight_1 = _taps(source_height, height)
    column_lower, column_weight_0, column_weight_1 = _taps(source_width, width)
    line = np.empty(source_height + 1, np.float32)
    for p in range(len(logits_pwh)):
        for n in range(values_pnh.shape[1]):
            x = first + n
            left = column_lower[x]
            right = min(left + 1, source_width - 1) if width != source_width else left
            weight_0, weight_1 = column_weight_0[x], column_weight_1[x]
            left_column, right_column = logits_pwh[p, left], logits_pwh[p, right]
            target = values_pnh[p, n]
            if height + width > _SMALL:
                for y in range(source_height):
                    line[y] = _between(left_column[y], weight_0, right_column[y], weight_1)
                line[source_height] = line[source_height - 1]
                for y in range(height):
                    i = row_lower[y]
                    target[y] = _between(line[i], row_weight_0[y], line[i + 1], row_weight_1[y])
            else:
                for y in range(height):
                    i = row_lower[y]
                    j = min(i + 1, source_height - 1) if height != source_height else i
                    target[y] = _among_four(
                        left_column, right_column, i, j, weight_0, weight_1, row_weight_0[y], row_weight_1[y]
                    )


@compiled
def append_edges(
    values_kn: np.ndarray,
    limit_k: np.ndarray,
    base: int,
    inside_k: np.ndarray,
    edges: np.ndarray,
    masks: np.ndarray,
    used: int,
) -> int:
    """Write where masks change among the n pixels from ``base`` on; return how much of ``edges`` is used now.

    inside_k: bool [K], whether each mask's pixel before these is inside; kept up to date. edges, masks: int32, the
    edges and the mask each is of; there must be room for K · n more.
    """
    for k in range(len(values_kn)):
        limit, inside = limit_k[k], inside_k[k]
        row = values_kn[k]
        words = len(row) // 64
        for word in range(words + 1):
            bits = _inside_word(row, word, limit) if 64 * word < len(row) else np.uint64(0)
            changes = bits ^ ((bits << np.uint64(1)) | np.uint64(inside))
            count = min(64, len(row) - 64 * word)
            if count < 64:
                changes &= (np.uint64(1) << np.uint64(count)) - np.uint64(1)
            while changes != np.uint64(0):
                edges[used], masks[used] = base + 64 * word + trailing_zeros(changes), k
                used += 1
                changes &= changes - np.uint64(1)
            if count > 0:
                inside = (bits >> np.uint64(count - 1)) & np.uint64(1) != np.uint64(0)
        inside_k[k] = inside
    return used
