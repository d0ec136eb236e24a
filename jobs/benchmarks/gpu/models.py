"""The models that parts work on: seeded random weights of full size, or tiny ones, with either head."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.gpu.part import Setting
from benchmarks.random_checkpoint import write_checkpoint
from clipseg_ray.masks.guided import GuidedFilter
from clipseg_ray.model.checkpoint import Checkpoint, load
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.model.precision import default_batching
from clipseg_ray.pixels.views import Views

Head = Literal["plain", "refined"]
HEADS: tuple[Head, ...] = ("plain", "refined")
SMALL_SIDE = 96


def folder(setting: Setting, head: Head = "refined") -> Path:
    """The checkpoint's folder, written by whichever part is first to ask. Logits have a standard deviation of 3."""
    place = Path(setting.folder) / head
    if not place.is_dir():
        # Under another name first: a part that is stopped half-way must not leave a checkpoint that looks whole.
        unfinished = Path(setting.folder) / f"{head}-{os.getpid()}"
        if setting.small:
            refined = head == "refined"
            write_checkpoint(unfinished, image_size=SMALL_SIDE, use_complex_transposed_convolution=refined)
        else:
            write_checkpoint(unfinished, architecture="rd64-refined" if head == "refined" else "rd64")
        unfinished.rename(place)
    return place


def checkpoint(setting: Setting, head: Head = "refined") -> Checkpoint:
    """The loaded checkpoint, kept for the parts that follow in this process."""
    return _loaded(str(folder(setting, head)))


def engine(
    setting: Setting,
    precision: str,
    *,
    head: Head = "refined",
    compile: bool = False,
    views: Views | None = None,
    refine: GuidedFilter | None = None,
) -> Engine:
    """An engine with the batch sizes that a run has on this device."""
    loaded = checkpoint(setting, head)
    batch, decode_chunk = default_batching(setting.device, precision)
    model = make_model(
        loaded, device=setting.device, precision=precision, compile=compile, batch=batch, decode_chunk=decode_chunk
    )
    return Engine(model, views=views, refine=refine)


def pixels(setting: Setting, count: int) -> np.ndarray:
    """Seeded images, blocks of colour: uint8 [b, S, S, 3]."""
    side = checkpoint(setting).preprocessing.size
    different = np.random.default_rng(0).integers(0, 256, (min(count, 16), 11, 11, 3), np.uint8)
    cells = -(-side // 11)
    large_bhwc = different.repeat(cells, 1).repeat(cells, 2)[:, :side, :side]
    return np.resize(large_bhwc, (count, side, side, 3))


def conditionals(setting: Setting, count: int) -> np.ndarray:
    """Seeded queries: float32 [q, c], of the size of a text's."""
    config: Any = checkpoint(setting).config
    return np.random.default_rng(1).normal(0, 0.5, (count, config.projection_dim)).astype(np.float32)


@cache
def _loaded(place: str) -> Checkpoint:
    return load(place)
