"""Simple drawn images in WebDataset shards: shapes of known colour on plain ground, the same for the same seed."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SHAPES = ("circle", "square", "triangle", "ring")
COLOURS = {
    "red": (214, 48, 49),
    "green": (46, 160, 67),
    "blue": (44, 98, 214),
    "yellow": (240, 196, 25),
    "purple": (128, 62, 180),
    "black": (30, 30, 34),
    "white": (244, 244, 244),
}
GROUNDS = ((196, 206, 214), (222, 212, 190), (176, 196, 168), (120, 126, 140), (232, 226, 232))


def draw(seed: int, width: int = 480, height: int = 360) -> tuple[Image.Image, list[dict[str, object]]]:
    """One image and what is in it: for each shape its name, colour and box (x, y, w, h in pixels)."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), GROUNDS[rng.integers(len(GROUNDS))])
    pen = ImageDraw.Draw(image)
    things: list[dict[str, object]] = []
    for _ in range(rng.integers(1, 5)):
        shape = SHAPES[rng.integers(len(SHAPES))]
        colour = list(COLOURS)[rng.integers(len(COLOURS))]
        side = int(rng.integers(50, 170))
        x, y = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        box = (x, y, x + side, y + side)
        fill = COLOURS[colour]
        if shape == "circle":
            pen.ellipse(box, fill=fill)
        elif shape == "square":
            pen.rectangle(box, fill=fill)
        elif shape == "triangle":
            pen.polygon([(x, y + side), (x + side // 2, y), (x + side, y + side)], fill=fill)
        else:
            pen.ellipse(box, outline=fill, width=max(8, side // 6))
        things.append({"shape": shape, "colour": colour, "box": [x, y, side, side]})
    noise = rng.normal(0, 6, (height, width, 1))
    softened = np.asarray(image.filter(ImageFilter.GaussianBlur(0.8)), np.float32)
    return Image.fromarray(np.clip(softened + noise, 0, 255).astype(np.uint8)), things


def write_shards(folder: Path, *, shards: int, images: int, seed: int = 0) -> None:
    """Write ``shards`` tars of ``images`` JPEGs, each with its truth in a JSON beside it; same seed, same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        with tarfile.open(folder / f"pictures-{shard:04d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for index in range(images):
                number = shard * images + index
                image, things = draw(seed * 1_000_003 + number)
                encoded = io.BytesIO()
                image.save(encoded, "JPEG", quality=88)
                _add(tar, f"{number:06d}.jpg", encoded.getvalue())
                _add(tar, f"{number:06d}.json", json.dumps({"things": things}).encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
