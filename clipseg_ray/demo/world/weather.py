"""What happens to an image before one sees it: uneven light, blur, noise, JPEG."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter


def weathered(rng: np.random.Generator, pixels_hwc: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3]: ``pixels_hwc`` (float32, 0…255) under uneven, slightly tinted light, softened and noisy."""
    height, width, _ = pixels_hwc.shape
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.2)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    light = np.float32(rng.uniform(0.88, 1.06)) + np.float32(strength) * (
        x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    )
    tint = rng.uniform(0.96, 1.04, 3).astype(np.float32)
    pixels_hwc = pixels_hwc * light[..., None] * tint
    if rng.random() < 0.5:
        soft = Image.fromarray(pixels_hwc.clip(0, 255).astype(np.uint8))
        soft = soft.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
        pixels_hwc = np.asarray(soft).astype(np.float32)
    noise = rng.standard_normal((height, width, 3 if rng.random() < 0.5 else 1), np.float32)
    pixels_hwc = pixels_hwc + noise * np.float32(rng.uniform(0, 9))
    return pixels_hwc.clip(0, 255).astype(np.uint8)


def jpeg(rng: np.random.Generator, pixels_hwc: np.ndarray) -> bytes:
    """The image (uint8 [h, w, 3]) as JPEG of a drawn quality."""
    encoded = io.BytesIO()
    Image.fromarray(pixels_hwc).save(encoded, "JPEG", quality=int(rng.integers(55, 96)))
    return encoded.getvalue()
