"""Masks as Label Studio's brush has them: run lengths of an RGBA picture, packed bit by bit.

The code is @thi.ng/rle-pack's (https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack): 32 bits with the
number of values, 5 with the bits of a value less one, four times 4 with the bits of a length less one; then for each
run a 1, 2 bits that choose one of these four, the length less one and the value. Values are bytes, four a pixel, row
by row: 255 inside, 0 outside.
"""

import numpy as np

_VALUE_BITS = 8
_LENGTH_BITS = (3, 7, 11, 16)
_CHANNELS = 4
_INSIDE = 255


def encode(pixels_hw: np.ndarray) -> np.ndarray:
    """The bytes of one mask, uint8 [n]. pixels_hw: bool [h, w], of fewer than 2^30 pixels. Raises ValueError."""
    pixels = pixels_hw.size
    if not 0 < pixels < 2**30:
        raise ValueError(f"a mask of {pixels} pixels has no brush; 1 to 2^30 - 1 are possible")
    flat_p = np.ascontiguousarray(pixels_hw).reshape(-1)
    bounds = np.concatenate([[0], np.flatnonzero(flat_p[1:] != flat_p[:-1]) + 1, [pixels]])
    lengths, values = np.diff(bounds) * _CHANNELS, np.where(flat_p[bounds[:-1]], _INSIDE, 0)
    # A run longer than a length can say goes on in further runs of its value.
    longest = 2 ** _LENGTH_BITS[-1]
    times = -(-lengths // longest)
    last = np.cumsum(times) - 1
    pieces = np.full(times.sum(), longest, np.int64)
    pieces[last] = lengths - (times - 1) * longest
    return _packed(pixels * _CHANNELS, pieces, np.repeat(values, times))


def _packed(count: int, lengths_r: np.ndarray, values_r: np.ndarray) -> np.ndarray:
    header = (count << 21) | ((_VALUE_BITS - 1) << 16)
    for place, bits in enumerate(_LENGTH_BITS):
        header |= (bits - 1) << (12 - 4 * place)
    choice_r = np.searchsorted(2 ** np.array(_LENGTH_BITS), lengths_r)
    length_bits_r = np.array(_LENGTH_BITS)[choice_r]
    # Each run as a number: 1, choice, length, value.
    number_r = (((4 | choice_r) << length_bits_r | (lengths_r - 1)) << _VALUE_BITS) | values_r
    numbers = np.concatenate([[header], number_r]).astype(np.uint64)
    width_r = np.concatenate([[53], 3 + length_bits_r + _VALUE_BITS])
    ends = np.cumsum(width_r)
    packed_b = np.zeros(ends[-1], np.uint8)
    for place in range(width_r.max()):  # the place-th bit of every number, from its end
        some = np.flatnonzero(width_r > place)
        packed_b[ends[some] - 1 - place] = (numbers[some] >> np.uint64(place)) & np.uint64(1)
    return np.packbits(packed_b)
