"""Encoded JPEGs to uint8 at the model's size: ours, fast and exact, against Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from benchmarks import inputs
from benchmarks.harness import Contestant, environment, race, report, single_thread
from clipseg_ray.pixels.decode import decode
from clipseg_ray.pixels.preprocessing import BILINEAR, Preprocessing

_PREPROCESSING = Preprocessing(
    size=352, resample=BILINEAR, rescale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)


def benchmark(
    *, images: int = 64, rounds: int = 7, images_dir: str | None = None, json_file: str | None = None
) -> dict[str, Any]:
    """Run it, print it, and return what the JSON line holds. UserError when ``images_dir`` holds no JPEG."""
    single_thread("cpu")
    jpegs = inputs.jpegs(images, images_dir)
    ways: dict[str, Callable[[bytes], np.ndarray]] = {
        "ours, fast": lambda data: decode(data, _PREPROCESSING, "fast").pixels_hwc,
        "ours, exact": lambda data: decode(data, _PREPROCESSING, "exact").pixels_hwc,
        "Pillow": _with_pillow,
    }
    reference = [_with_pillow(data) for data in jpegs]
    levels = {name: _levels(way, jpegs, reference) for name, way in ways.items() if name != "Pillow"}
    result = {
        "benchmark": "decode",
        **environment("cpu"),
        "settings": {
            "images": images,
            "rounds": rounds,
            "pictures": "drawn, 825×550" if images_dir is None else "photographs",
            "bytes_per_image": sum(map(len, jpegs)) / len(jpegs),
            "size": _PREPROCESSING.size,
        },
        "levels": levels,
        "agrees": levels["ours, fast"]["max"] <= 1 and levels["ours, exact"]["max"] == 0,
    }
    contestants = [Contestant(name, partial(_each, way, jpegs), len(jpegs)) for name, way in ways.items()]
    found = race(f"decode to {_PREPROCESSING.size}×{_PREPROCESSING.size}", "image", contestants, rounds)
    result["ratio_pillow"] = found.of("Pillow").median / found.of("ours, fast").median
    notes = [
        f"{name}: {error['mean']:.4f} levels from Pillow on average, at most {error['max']}."
        for name, error in levels.items()
    ]
    report(result, [found], [*notes, "One thread."], json_file)
    return result


def _each(way: Callable[[bytes], np.ndarray], jpegs: list[bytes]) -> None:
    for data in jpegs:
        way(data)


def _with_pillow(data: bytes) -> np.ndarray:
    """The plain way: open, turn upright, RGB, bilinear resize."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    side = (_PREPROCESSING.size, _PREPROCESSING.size)
    return np.array(image.resize(side, Image.Resampling.BILINEAR))


def _levels(way: Callable[[bytes], np.ndarray], jpegs: list[bytes], reference: list[np.ndarray]) -> dict[str, Any]:
    differences = [
        np.abs(way(data).astype(np.int16) - expected) for data, expected in zip(jpegs, reference, strict=True)
    ]
    return {
        "mean": float(np.mean([difference.mean() for difference in differences])),
        "max": int(max(difference.max() for difference in differences)),
    }
