"""The guided filter in machine code: statistics of the guide, coefficients of a mask, and its refined probabilities.

Planes are [u, v] on the cells and [w, h] on the grid, both transposed. Sums over windows are taken term by term: at
these radii that is as fast as running sums, whose rounding errors would grow along a line.
"""

import numpy as np
from numba import njit

from clipseg_ray.masks.compiled import compiled, greater

_CENTRE = np.float32(127.5)
"""Taken from every colour, so that variances are differences of small numbers."""
_LEVELS = np.float32(255)


@njit(error_model="numpy")
def _cell_bounds(size: int, cells: int) -> np.ndarray:
    """int64 [cells, 2]: where each cell begins and ends, as adaptive pooling has them."""
    bounds = np.empty((cells, 2), np.int64)
    for i in range(cells):
        bounds[i, 0], bounds[i, 1] = i * size // cells, -(-((i + 1) * size) // cells)
    return bounds


@njit(error_model="numpy", fastmath={"reassoc", "contract"})
def _cell_means(plane_wh: np.ndarray, u_bounds: np.ndarray, v_bounds: np.ndarray, means_uv: np.ndarray) -> None:
    column_h = np.empty(plane_wh.shape[1], np.float32)
    for u in range(len(u_bounds)):
        first, last = u_bounds[u]
        for y in range(len(column_h)):
            column_h[y] = np.float32(plane_wh[first, y])
        for x in range(first + 1, last):
            for y in range(len(column_h)):
                column_h[y] += np.float32(plane_wh[x, y])
        for v in range(len(v_bounds)):
            total = np.float32(0)
            for y in range(v_bounds[v, 0], v_bounds[v, 1]):
                total += column_h[y]
            means_uv[u, v] = total / np.float32((last - first) * (v_bounds[v, 1] - v_bounds[v, 0]))


@njit(error_model="numpy", fastmath={"contract"})
def _window_means(values_uv: np.ndarray, radius: int, lines_uv: np.ndarray, means_uv: np.ndarray) -> None:
    """Means over windows of 2·radius + 1 cells a side, cut off at the border. ``lines_uv``: room to work in."""
    rows, columns = values_uv.shape
    for u in range(rows):
        first, last = max(0, u - radius), min(rows, u + radius + 1)
        line = lines_uv[u]
        line[:] = values_uv[first]
        for k in range(first + 1, last):
            other = values_uv[k]
            for v in range(columns):
                line[v] += other[v]
        share = np.float32(1) / np.float32(last - first)
        for v in range(columns):
            line[v] *= share
        mean = means_uv[u]
        mean[:] = line
        for k in range(1, min(radius, columns - 1) + 1):
            for v in range(columns - k):
                mean[v] += line[v + k]
            for v in range(columns - k):
                mean[v + k] += line[v]
        for v in range(columns):
            mean[v] /= np.float32(min(columns, v + radius + 1) - max(0, v - radius))


@compiled
def guide_statistics(
    planes_cwh: np.ndarray,
    radius: int,
    epsilon: float,
    cells_cuv: np.ndarray,
    mean_cuv: np.ndarray,
    inverse_kuv: np.ndarray,
) -> None:
    """Fill the last three from one image's colours, uint8 [3, w, h]: see ``guided.Guide``."""
    _, rows, columns = cells_cuv.shape
    u_bounds = _cell_bounds(planes_cwh.shape[1], rows)
    v_bounds = _cell_bounds(planes_cwh.shape[2], columns)
    product_uv, lines_uv = np.empty((rows, columns), np.float32), np.empty((rows, columns), np.float32)
    for c in range(3):
        _cell_means(planes_cwh[c], u_bounds, v_bounds, cells_cuv[c])
        for u in range(rows):
            for v in range(columns):
                cells_cuv[c, u, v] = (cells_cuv[c, u, v] - _CENTRE) / _LEVELS
        _window_means(cells_cuv[c], radius, lines_uv, mean_cuv[c])
    k = 0
    for c in range(3):
        for d in range(c, 3):
            for u in range(rows):
                for v in range(columns):
                    product_uv[u, v] = cells_cuv[c, u, v] * cells_cuv[d, u, v]
            _window_means(product_uv, radius, lines_uv, inverse_kuv[k])
            k += 1
    for u in range(rows):
        for v in range(columns):
            red, green, blue = (
                np.float64(mean_cuv[0, u, v]),
                np.float64(mean_cuv[1, u, v]),
                np.float64(mean_cuv[2, u, v]),
            )
            rr, rg, rb = (
                inverse_kuv[0, u, v] - red * red,
                inverse_kuv[1, u, v] - red * green,
                inverse_kuv[2, u, v] - red * blue,
            )
            gg, gb = inverse_kuv[3, u, v] - green * green, inverse_kuv[4, u, v] - green * blue
            bb = inverse_kuv[5, u, v] - blue * blue
            # Rounding may leave a variance below 0, by less than 1e-7.
            rr, gg, bb = max(rr, 0.0) + epsilon, max(gg, 0.0) + epsilon, max(bb, 0.0) + epsilon
            first, second, third = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
            determinant = rr * first + rg * second + rb * third
            inverse_kuv[0, u, v], inverse_kuv[1, u, v], inverse_kuv[2, u, v] = (
                first / determinant,
                second / determinant,
                third / determinant,
            )
            inverse_kuv[3, u, v] = (rr * bb - rb * rb) / determinant
            inverse_kuv[4, u, v] = (rb * rg - rr * gb) / determinant
            inverse_kuv[5, u, v] = (rr * gg - rg * rg) / determinant


@njit(error_model="numpy", fastmath={"contract"})
def _coefficients(
    probability_wh: np.ndarray,
    radius: int,
    cells_cuv: np.ndarray,
    mean_cuv: np.ndarray,
    inverse_kuv: np.ndarray,
    linear_kuv: np.ndarray,
) -> None:
    """Fill float32 ``linear_kuv`` [4, u, v]: the weights of red, green and blue levels (0…255), and the rest."""
    _, rows, columns = cells_cuv.shape
    u_bounds, v_bounds = _cell_bounds(probability_wh.shape[0], rows), _cell_bounds(probability_wh.shape[1], columns)
    cells_uv, lines_uv = np.empty((rows, columns), np.float32), np.empty((rows, columns), np.float32)
    with_kuv = np.empty((4, rows, columns), np.float32)
    product_uv = np.empty((rows, columns), np.float32)
    _cell_means(probability_wh, u_bounds, v_bounds, cells_uv)
    for c in range(3):
        for u in range(rows):
            for v in range(columns):
                product_uv[u, v] = cells_cuv[c, u, v] * cells_uv[u, v]
        _window_means(product_uv, radius, lines_uv, with_kuv[c])
    _window_means(cells_uv, radius, lines_uv, with_kuv[3])
    for u in range(rows):
        for v in range(columns):
            mean = with_kuv[3, u, v]
            red = with_kuv[0, u, v] - mean_cuv[0, u, v] * mean
            green = with_kuv[1, u, v] - mean_cuv[1, u, v] * mean
            blue = with_kuv[2, u, v] - mean_cuv[2, u, v] * mean
            a = inverse_kuv[0, u, v] * red + inverse_kuv[1, u, v] * green + inverse_kuv[2, u, v] * blue
            b = inverse_kuv[1, u, v] * red + inverse_kuv[3, u, v] * green + inverse_kuv[4, u, v] * blue
            c = inverse_kuv[2, u, v] * red + inverse_kuv[4, u, v] * green + inverse_kuv[5, u, v] * blue
            with_kuv[3, u, v] = mean - a * mean_cuv[0, u, v] - b * mean_cuv[1, u, v] - c * mean_cuv[2, u, v]
            with_kuv[0, u, v], with_kuv[1, u, v], with_kuv[2, u, v] = a, b, c
    for k in range(4):
        _window_means(with_kuv[k], radius, lines_uv, linear_kuv[k])
    half = _CENTRE / _LEVELS
    for u in range(rows):
        for v in range(columns):
            a, b, c = linear_kuv[0, u, v], linear_kuv[1, u, v], linear_kuv[2, u, v]
            linear_kuv[3, u, v] -= half * (a + b + c)
            linear_kuv[0, u, v], linear_kuv[1, u, v], linear_kuv[2, u, v] = a / _LEVELS, b / _LEVELS, c / _LEVELS


@njit(error_model="numpy")
def _taps(cells: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Per pixel the lower cell and the weight of the one behind it, of bilinear interpolation between centres."""
    lower, weight = np.empty(size, np.int32), np.empty(size, np.float32)
    for i in range(size):
        place = max((i + 0.5) * cells / size - 0.5, 0.0)
        lower[i] = min(int(place), max(cells - 2, 0))
        weight[i] = min(place - lower[i], 1.0) if cells > 1 else 0.0
    return lower, weight


@njit(error_model="numpy", fastmath={"contract"})
def _stretched(
    linear_kuv: np.ndarray, u: int, lower_h: np.ndarray, weight_h: np.ndarray, target_kh: np.ndarray
) -> None:
    """Row u of the coefficients, interpolated along it."""
    step = np.int32(1 if linear_kuv.shape[2] > 1 else 0)
    for k in range(4):
        source, target = linear_kuv[k, u], target_kh[k]
        for y in range(len(lower_h)):
            below, above = source[lower_h[y]], source[lower_h[y] + step]
            target[y] = below + (above - below) * weight_h[y]


@njit(error_model="numpy", fastmath={"contract"})
def _applied(linear_kuv: np.ndarray, planes_cwh: np.ndarray, target_wh: np.ndarray) -> None:
    """The coefficients, interpolated to the grid, applied to the colours there."""
    rows = linear_kuv.shape[1]
    width, height = target_wh.shape
    lower_w, weight_w = _taps(rows, width)
    lower_h, weight_h = _taps(linear_kuv.shape[2], height)
    pair_skh, at = np.empty((2, 4, height), np.float32), -1
    for x in range(width):
        u = lower_w[x]
        if u != at:
            if u == at + 1 and at >= 0:
                pair_skh[0] = pair_skh[1]
            else:
                _stretched(linear_kuv, u, lower_h, weight_h, pair_skh[0])
            _stretched(linear_kuv, min(u + 1, rows - 1), lower_h, weight_h, pair_skh[1])
            at = u
        below, above, weight = pair_skh[0], pair_skh[1], weight_w[x]
        red, green, blue = planes_cwh[0, x], planes_cwh[1, x], planes_cwh[2, x]
        target = target_wh[x]
        for y in range(height):
            a = below[0, y] + (above[0, y] - below[0, y]) * weight
            b = below[1, y] + (above[1, y] - below[1, y]) * weight
            c = below[2, y] + (above[2, y] - below[2, y]) * weight
            d = below[3, y] + (above[3, y] - below[3, y]) * weight
            target[y] = a * np.float32(red[y]) + b * np.float32(green[y]) + c * np.float32(blue[y]) + d


@compiled
def filter_in_place(
    probability_wh: np.ndarray,
    planes_cwh: np.ndarray,
    radius: int,
    cells_cuv: np.ndarray,
    mean_cuv: np.ndarray,
    inverse_kuv: np.ndarray,
) -> None:
    """Write the filter's output over one map of probabilities, float32 [w, h]; it may leave 0…1."""
    linear_kuv = np.empty((4, cells_cuv.shape[1], cells_cuv.shape[2]), np.float32)
    _coefficients(probability_wh, radius, cells_cuv, mean_cuv, inverse_kuv, linear_kuv)
    _applied(linear_kuv, planes_cwh, probability_wh)


@njit(error_model="numpy", fastmath={"reassoc"})
def _highest(values_n: np.ndarray) -> np.float32:
    most, taint = np.float32(-np.inf), np.float32(0)
    for j in range(len(values_n)):
        most = greater(values_n[j], most)
        taint += values_n[j] - values_n[j]  # 0 for a finite value, NaN for any other
    return most + taint


@compiled
def highest(values_n: np.ndarray) -> np.float32:
    """The maximum, NaN if any value is not finite."""
    return _highest(values_n)
