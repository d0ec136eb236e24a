"""What the benchmarks work on: images, prompts and a checkpoint, the same for everybody."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from transformers.utils import logging

from benchmarks.drawings import COLOURS, draw
from benchmarks.random_checkpoint import write_checkpoint
from clipseg_ray.errors import UserError

WIDTH, HEIGHT = 825, 550
"""Of a drawn image, in pixels."""

_DISTINCT = 64
_SIZES = ("", "small ", "large ")
_THINGS = [
    "circle",
    "square",
    "triangle",
    "ring",
    "dog",
    "cat",
    "horse",
    "cow",
    "sheep",
    "bird",
    "fish",
    "car",
    "bus",
    "truck",
    "bicycle",
    "train",
    "boat",
    "tree",
    "flower",
    "leaf",
    "house",
    "door",
    "window",
    "roof",
    "bridge",
    "chair",
    "table",
    "sofa",
    "bed",
    "lamp",
    "book",
    "cup",
    "bottle",
    "glass",
    "plate",
    "bowl",
    "spoon",
    "fork",
    "knife",
    "apple",
    "banana",
    "person",
    "child",
    "hat",
    "shoe",
    "shirt",
    "bag",
    "box",
    "ball",
    "clock",
    "phone",
    "screen",
]


def jpegs(count: int, folder: str | None = None) -> list[bytes]:
    """``count`` encoded JPEGs: drawn ones with noise, or the photographs under ``folder`` in order of name.

    Where there are fewer different ones they come round again. Raises UserError when the folder holds none.
    """
    if folder is None:
        different = [_drawn(seed) for seed in range(min(count, _DISTINCT))]
    else:
        paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        if not paths:
            raise UserError(f"--images-dir {folder}: holds no .jpg or .jpeg file; name a folder of photographs")
        different = [path.read_bytes() for path in paths[:count]]
    return list(itertools.islice(itertools.cycle(different), count))


def texts(count: int) -> list[str]:
    """``count`` different prompts of two to four words; a shorter list is the start of a longer one."""
    every = [f"{size}{colour} {thing}" for size in _SIZES for colour in COLOURS for thing in _THINGS]
    if count > len(every):
        raise UserError(f"--prompts {count}: at most {len(every)} prompts can be made")
    order = np.random.default_rng(0).permutation(len(every))
    return [every[index] for index in order[:count]]


@contextmanager
def checkpoint(name: str | None) -> Iterator[str]:
    """The checkpoint to measure: the given one, or a seeded random ViT-B/16 with the refined head for the time."""
    if name is not None:
        yield name
        return
    logging.disable_progress_bar()
    with TemporaryDirectory(prefix="clipseg-ray-benchmark-") as folder:
        write_checkpoint(Path(folder), architecture="rd64-refined")
        yield folder


def _drawn(seed: int) -> bytes:
    image, _ = draw(seed, WIDTH, HEIGHT)
    levels = np.asarray(image, np.float32) + np.random.default_rng(seed).normal(0, 4, (HEIGHT, WIDTH, 3))
    encoded = io.BytesIO()
    Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).save(encoded, "JPEG", quality=88)
    return encoded.getvalue()
