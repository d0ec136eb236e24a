"""Colours that distinguish queries, the same for a query in every export."""

from __future__ import annotations

import colorsys

_FIRST = (
    (230, 57, 97), (58, 134, 255), (255, 190, 11), (46, 184, 114), (131, 56, 236), (255, 112, 46), (0, 187, 212),
    (200, 85, 160), (150, 190, 40), (120, 94, 75), (70, 90, 160), (240, 140, 170),
)  # fmt: skip

_GOLDEN = 0.618033988749895


def colour(number: int) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of a category by its number; 0, the background, is black."""
    if number == 0:
        return (0, 0, 0)
    if number <= len(_FIRST):
        return _FIRST[number - 1]
    # Hues a golden section apart never come near their neighbours; three shades keep those around them apart too.
    lightness = (0.55, 0.42, 0.68)[number % 3]
    red, green, blue = colorsys.hls_to_rgb(number * _GOLDEN % 1, lightness, 0.72)
    return (round(255 * red), round(255 * green), round(255 * blue))


def hexadecimal(number: int) -> str:
    """The same as ``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*colour(number))
