"""Machine code behind COCO run lengths: edges from bits or from logits, bytes from edges.

An edge is the column-major index of a pixel that differs from the one before it; the pixel before the first counts
as outside. So the runs between edges are COCO's counts, beginning with background. The byte format is that of
pycocotools' ``common/maskApi.c`` (``rleToString``): five bits a character, from the fourth run on as the difference
to the run before last.
"""

import numpy as np
from numba import njit

from clipseg_ray.masks.compiled import above64, compiled, fma32, greater, trailing_zeros

_MANTISSA_SHARE = 2.0**-19  # bilinear interpolation rounds by less than 2⁻²⁰ of the greatest magnitude
_SMALLEST = 1e-37  # and by less than this where numbers are subnormal


@njit(error_model="numpy")
def _room(counts: np.ndarray, used: int, pixels: int) -> np.ndarray:
    """``counts``, grown if need be, with room for any mask of ``pixels`` behind ``used``.

    A run of one costs one character, and whatever makes a difference of more characters is longer than they are.
    """
    if used + pixels + 16 <= len(counts):
        return counts
    grown = np.empty(2 * len(counts) + pixels + 16, np.uint8)
    grown[:used] = counts[:used]
    return grown


@njit(error_model="numpy")
def _write(edges: np.ndarray, n: int, pixels: int, counts: np.ndarray, used: int) -> int:
    """Append one mask's counts; return how much of ``counts`` is used now."""
    edges[n] = pixels
    end_1, run_1, run_2 = 0, 0, 0
    for i in range(n + 1):
        end = int(edges[i])
        run = end - end_1
        code = run - run_2 if i > 2 else run
        end_1, run_1, run_2 = end, run, run_1
        # Nearly every code fits two characters: both are written, and whether the second stays is no branch.
        short = int(-17 < code < 16)
        counts[used] = np.uint8((code & 31) + 80 - 32 * short)
        counts[used + 1] = np.uint8(((code >> 5) & 31) + 48)
        used += 2 - short
        if code < -512 or code >= 512:
            counts[used - 1] += np.uint8(32)
            code >>= 10
            more = True
            while more:
                low = code & 31
                code >>= 5
                more = code != -1 if low & 16 else code != 0
                counts[used] = np.uint8(low + 48 + (32 if more else 0))
                used += 1
    return used


@njit(error_model="numpy")
def _measure(edges: np.ndarray, n: int, height: int, bbox: np.ndarray) -> int:
    """Fill one mask's box from its edges (and their end, as ``_write`` leaves it); return its area."""
    area = 0
    top, bottom = height, -1
    per_column = 1.0 / height
    for i in range(0, n, 2):
        start, end = int(edges[i]), int(edges[i + 1])
        area += end - start
        # Exact: half a pixel from any whole column, where an index below 2³¹ cannot be rounded to.
        column, last_column = int((start + 0.5) * per_column), int((end - 0.5) * per_column)
        across = column != last_column
        top = min(top, 0 if across else start - column * height)
        bottom = max(bottom, height - 1 if across else end - 1 - column * height)
    if n == 0:
        bbox[:] = 0
        return area
    left = int((edges[0] + 0.5) * per_column)
    right = int((edges[(n - 1) // 2 * 2 + 1] - 0.5) * per_column)
    bbox[0], bbox[1], bbox[2], bbox[3] = left, top, right - left + 1, bottom - top + 1
    return area


@njit(error_model="numpy")
def _edges_of_bits(
    words_n: np.ndarray, pixels: int, changes_n: np.ndarray, changed: np.ndarray, edges: np.ndarray
) -> int:
    """``changes_n`` (uint64) and ``changed`` (int32), both as long as ``words_n``, are room to work in."""
    changes_n[0] = words_n[0] ^ (words_n[0] << np.uint64(1))
    for k in range(1, len(words_n)):
        changes_n[k] = words_n[k] ^ ((words_n[k] << np.uint64(1)) | (words_n[k - 1] >> np.uint64(63)))
    if pixels % 64:
        changes_n[pixels // 64] &= (np.uint64(1) << np.uint64(pixels % 64)) - np.uint64(1)
    m = 0
    for k in range(len(words_n)):
        changed[m] = k
        m += int(changes_n[k] != np.uint64(0))
    n = 0
    for i in range(m):
        k = int(changed[i])
        changes = changes_n[k]
        while changes != np.uint64(0):
            edges[n] = 64 * k + trailing_zeros(changes)
            n += 1
            changes &= changes - np.uint64(1)
    return n


@compiled
def encode_bits(
    bits_pn: np.ndarray,
    height: int,
    width: int,
    nonempty_p: np.ndarray,
    offsets: np.ndarray,
    area_p: np.ndarray,
    bbox_p4: np.ndarray,
) -> np.ndarray:
    """Fill the last three and return the counts' characters; masks not ``nonempty_p`` are empty, unlooked at."""
    rows, row_bytes = bits_pn.shape
    pixels = height * width
    words_n = np.zeros((row_bytes + 7) // 8, np.uint64)
    word_bytes = words_n.view(np.uint8)[:row_bytes]
    changes_n, changed = np.empty_like(words_n), np.empty(len(words_n) + 1, np.int32)
    edges = np.empty(pixels + 1, np.int32)
    counts = np.empty(1024 * rows + pixels + 16, np.uint8)
    used = 0
    offsets[0] = 0
    for p in range(rows):
        n = 0
        if nonempty_p[p]:
            word_bytes[:] = bits_pn[p]
            n = _edges_of_bits(words_n, pixels, changes_n, changed, edges)
        counts = _room(counts, used, pixels)
        used = _write(edges, n, pixels, counts, used)
        area_p[p] = _measure(edges, n, height, bbox_p4[p])
        offsets[p + 1] = used
    return counts[:used]


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
    fused = height + width > 128  # torch takes another kernel for small outputs, with another order of operations
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
            target[y] = fma32(source_0[y], weight_0, source_1[y] * weight_1)
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
                        value = fma32(line[i], weight_y0, line[i + 1] * weight_y1)
                    else:
                        j = min(i + 1, source_height - 1) if height != source_height else i
                        value = right_column[i] * (weight_y0 * weight_1)
                        value = fma32(left_column[i], weight_y0 * weight_0, value)
                        value = fma32(left_column[j], weight_y1 * weight_0, value)
                        value = fma32(right_column[j], weight_y1 * weight_1, value)
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
def encode_resized(
    logits_pwh: np.ndarray,
    height: int,
    width: int,
    threshold_logit_p: np.ndarray,
    offsets: np.ndarray,
    area_p: np.ndarray,
    bbox_p4: np.ndarray,
) -> np.ndarray:
    """Fill the last three and return the counts' characters of the masks at ``height`` × ``width``."""
    pixels = height * width
    edges = np.empty(pixels + 1, np.int32)
    counts = np.empty(1024 * len(logits_pwh) + pixels + 16, np.uint8)
    used = 0
    offsets[0] = 0
    for p in range(len(logits_pwh)):
        n = _edges_of_resized(logits_pwh[p], height, width, threshold_logit_p[p], edges)
        counts = _room(counts, used, pixels)
        used = _write(edges, n, pixels, counts, used)
        area_p[p] = _measure(edges, n, height, bbox_p4[p])
        offsets[p + 1] = used
    return counts[:used]


@compiled
def counts_of_edges(edges: np.ndarray, edge_offsets: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Fill ``offsets`` and return the counts' characters: the inverse of `parsing.edges_of_counts`."""
    rows = len(offsets) - 1
    counts = np.empty(3 * len(edges) + 16, np.uint8)
    used = 0
    offsets[0] = 0
    for p in range(rows):
        own = edges[edge_offsets[p] : edge_offsets[p + 1]]
        counts = _room(counts, used, 7 * len(own))
        used = _write(own, len(own) - 1, own[-1], counts, used)
        offsets[p + 1] = used
    return counts[:used]


@compiled
def measure_edges(edges: np.ndarray, edge_offsets: np.ndarray, height_p: np.ndarray, bbox_p4: np.ndarray) -> None:
    """Fill each mask's box: x, y, w, h; zeros if it is empty."""
    for p in range(len(height_p)):
        own = edges[edge_offsets[p] : edge_offsets[p + 1]]
        _measure(own, len(own) - 1, height_p[p], bbox_p4[p])
