"""The decoder of Label Studio's brush masks, @thi.ng/rle-pack's ``decode``, as its documentation has it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def decoded(packed: Sequence[int], height: int, width: int) -> np.ndarray:
    """bool [height, width]: the alpha of the RGBA picture that the bytes hold."""
    text = "".join(f"{byte:08b}" for byte in packed)
    at = 0

    def read(bits: int) -> int:
        nonlocal at
        at += bits
        return int(text[at - bits : at], 2)

    count, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values = np.zeros(count, np.uint8)
    place = 0
    while place < count:
        repeated = read(1)
        end = place + 1 + read(sizes[read(2)])
        if repeated:
            values[place:end] = read(word)
        else:
            values[place:end] = [read(word) for _ in range(place, end)]
        place = end
    return values.reshape(height, width, 4)[:, :, 3] == 255
