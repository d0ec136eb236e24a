"""Truth shards of simple shapes in the contract's form: a few things a small model can learn in seconds."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from tests.tars import tar_of

COLOURS = {"red": (210, 40, 40), "green": (40, 160, 60), "blue": (40, 90, 210), "yellow": (235, 200, 30)}
SHAPES = ("circle", "square", "triangle")


def scene(seed: int, side: int) -> tuple[np.ndarray, list[dict]]:
    """Pixels and the rows of ``truth``: names, coloured names, and what has corners."""
    rng = np.random.default_rng(seed)
    canvas = Image.new("RGB", (side, side), tuple(int(v) for v in rng.integers(90, 200, 3)))
    things: list[tuple[str, str, np.ndarray]] = []
    for _ in range(rng.integers(1, 4)):
        shape, colour = SHAPES[rng.integers(3)], list(COLOURS)[rng.integers(4)]
        extent = int(rng.integers(side // 5, side // 2))
        x, y = (int(v) for v in rng.integers(0, side - extent, 2))
        box, layer = (x, y, x + extent, y + extent), Image.new("1", (side, side))
        for image, fill in ((canvas, COLOURS[colour]), (layer, 1)):
            pen = ImageDraw.Draw(image)
            if shape == "circle":
                pen.ellipse(box, fill=fill)
            elif shape == "square":
                pen.rectangle(box, fill=fill)
            else:
                pen.polygon([(x, y + extent), (x + extent // 2, y), (x + extent, y + extent)], fill=fill)
        marked = np.asarray(layer)
        things = [(s, c, m & ~marked) for s, c, m in things] + [(shape, colour, marked)]
    masks: dict[tuple[str, str, tuple[str, ...]], np.ndarray] = {}
    for shape, colour, mask in things:
        keys = [(shape, "object", (shape,)), (f"{colour}-{shape}", "coloured object", (f"{colour} {shape}",))]
        if shape != "circle":
            keys.append(("has-corners", "attribute", ("something with corners", "has corners")))
        for key in keys:
            masks[key] = masks.get(key, np.zeros((side, side), bool)) | mask
    truth = [
        {
            "query_id": query_id,
            "kind": kind,
            "texts": list(texts),
            "counts": coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode(),
        }
        for (query_id, kind, texts), mask in masks.items()
        if mask.any()
    ]
    noise = rng.normal(0, 3, (side, side, 3))
    return np.clip(np.asarray(canvas, np.float32) + noise, 0, 255).astype(np.uint8), truth


def write_shards(folder: Path, *, shards: int, images: int, seed: int = 0, side: int = 96) -> None:
    """``shards`` tars of ``images`` scenes."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        members = {}
        for number in range(shard * images, (shard + 1) * images):
            pixels, truth = scene(seed + number, side)
            sink = io.BytesIO()
            Image.fromarray(pixels).save(sink, "JPEG", quality=92)
            members[f"{number:06d}.jpg"] = sink.getvalue()
            members[f"{number:06d}.json"] = json.dumps({"truth": truth, "height": side, "width": side}).encode()
        (folder / f"scenes-{shard:03d}.tar").write_bytes(tar_of(members))


TINY = {
    "image_size": 48,
    "vision": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48},
    "text": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    "projection_dim": 16,
    "reduce_dim": 16,
    "decoder_heads": 2,
    "decoder_intermediate_size": 32,
    "extract_layers": [0, 1],
}
"""A model section that trains in milliseconds."""


def settings(data: Path, url: str, **sections: dict) -> dict:
    """A configuration of a few steps over truth shards; sections given are merged into it."""
    values: dict = {
        "data": {"url": str(data)},
        "output": {"url": url, "every": 4},
        "sampling": {"phrases_per_image": 3, "support_share": 0.5, "template": "plain"},
        "model": TINY,
        "optimiser": {"steps": 8, "batch_images": 4, "precision": "fp32", "contrastive_weight": 0.1, "average": 0.9},
    }
    return {name: {**values.get(name, {}), **sections.get(name, {})} for name in {**values, **sections}}
