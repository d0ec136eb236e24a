"""What an engine is held against: the products of its encoder as torch does them, and what an H200 can do."""

from __future__ import annotations

from typing import Any

H200_BF16 = 790e12
"""bf16 matrix products an H200 was measured to do in a second, in operations."""


def encoder_products(config: Any, size: int, images: int) -> list[tuple[int, int, int]]:
    """(rows, inner, columns) of the matrix products in an encoder block over ``images`` images at once."""
    vision = config.vision_config
    rows = images * ((size // vision.patch_size) ** 2 + 1)
    width, wide = vision.hidden_size, vision.intermediate_size
    return [(rows, width, 3 * width), (rows, width, width), (rows, width, wide), (rows, wide, width)]
