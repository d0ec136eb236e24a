"""Augmentation: an image in another light. It is the authors' ``aug_color``, ColorJitter(0.5, 0.5, 0.2, 0.05)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance

BRIGHTNESS, CONTRAST, SATURATION = 0.5, 0.5, 0.2
"""Each factor is uniform between 1 less and 1 more this."""
HUE = 0.05
"""Of the circle of hues; the turn is uniform between less and more this."""


def jittered(pixels_hwc: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 [h, w, 3] → the same with brightness, contrast, saturation and hue changed, one after the other in random
    order, each rounded to whole levels."""
    factors = [float(rng.uniform(1 - amount, 1 + amount)) for amount in (BRIGHTNESS, CONTRAST, SATURATION)]
    turn = float(rng.uniform(-HUE, HUE))
    changes: list[Callable[[Image.Image], Image.Image]] = [
        lambda image: ImageEnhance.Brightness(image).enhance(factors[0]),
        lambda image: ImageEnhance.Contrast(image).enhance(factors[1]),
        lambda image: ImageEnhance.Color(image).enhance(factors[2]),
        lambda image: _turned(image, turn),
    ]
    image = Image.fromarray(pixels_hwc)
    for number in rng.permutation(len(changes)):
        image = changes[number](image)
    return np.asarray(image)


def _turned(image: Image.Image, turn: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    step = round(turn * 255)
    return Image.merge("HSV", (hue.point([(level + step) % 256 for level in range(256)]), saturation, value)).convert(
        "RGB"
    )
