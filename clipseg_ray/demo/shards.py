"""Truth shards: WebDataset tars of scenes, a JPEG and a JSON with every query's true mask for each.

    python -m clipseg_ray.demo.shards FOLDER --scenes N --seed S [--held-out-pairs] [--side PIXELS] [--mosaic N]

DrawnScene i is that of seed S + i, under the key of that number. The same arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tarfile
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from clipseg_ray.demo.mosaics import mosaic
from clipseg_ray.demo.scenes import SIDE, SMALLEST_SIDE, DrawnScene, scene

_IN_A_SHARD = 250


def write_shards(
    folder: Path, *, shards: int, images: int, seed: int, draw: Callable[[int], DrawnScene] = scene
) -> None:
    """Write ``shards`` tars of ``images`` scenes each, of the seeds from ``seed`` on, into ``folder`` (created)."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        first = seed + shard * images
        _write(folder / f"scenes-{shard:05d}.tar", range(first, first + images), draw=draw)


def sidecar(shown: DrawnScene) -> dict[str, Any]:
    """The JSON beside a scene's image; ``counts`` are COCO's compressed run lengths at the image's size."""
    height, width, _ = shown.pixels_hwc.shape
    counts = iter(_counts([*(truth.mask_hw for truth in shown.truth), *(one.mask_hw for one in shown.instances)]))
    truth = [
        {"query_id": one.query_id, "kind": one.kind, "texts": list(one.texts), "counts": next(counts)}
        for one in shown.truth
    ]
    instances = [
        {
            "name": one.name,
            "colour": one.colour,
            "pattern": one.pattern,
            "bbox": list(one.bbox),
            "counts": next(counts),
        }
        for one in shown.instances
    ]
    return {
        "phrases": [text for one in shown.truth for text in one.texts],
        "truth": truth,
        "height": height,
        "width": width,
        "instances": instances,
    }


def _counts(masks: list[np.ndarray]) -> list[str]:
    encoded = coco.encode(np.asfortranarray(np.stack(masks, -1).astype(np.uint8)))
    return [one["counts"].decode() for one in encoded]


def _write(path: Path, seeds: Iterable[int], *, draw: Callable[[int], DrawnScene]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for seed in seeds:
            shown = draw(seed)
            _add(tar, f"{seed:09d}.jpg", shown.jpeg)
            _add(tar, f"{seed:09d}.json", json.dumps(sidecar(shown), separators=(",", ":")).encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def main() -> int:
    """Write the shards the command line asks for, two at a time."""
    parser = argparse.ArgumentParser(description="Write scenes with their true masks as WebDataset shards.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, required=True, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="the first scene's seed; the others follow")
    parser.add_argument("--held-out-pairs", action="store_true", help="a colour and name kept from training in each")
    parser.add_argument("--side", type=int, default=SIDE, help=f"of an image, in pixels ({SIDE} unless given)")
    parser.add_argument("--mosaic", type=int, default=1, metavar="N", help="N×N scenes in one image, each side/N wide")
    given = parser.parse_args()
    if given.mosaic < 1 or given.side % given.mosaic or given.side // given.mosaic < SMALLEST_SIDE:
        parser.error(
            f"--side {given.side} --mosaic {given.mosaic}: the side must be a multiple of the mosaic's number, and a "
            f"scene at least {SMALLEST_SIDE} pixels wide"
        )
    given.folder.mkdir(parents=True, exist_ok=True)
    stop = given.seed + given.scenes
    ranges = [range(first, min(first + _IN_A_SHARD, stop)) for first in range(given.seed, stop, _IN_A_SHARD)]
    paths = [given.folder / f"scenes-{number:05d}.tar" for number in range(len(ranges))]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        drawn = partial(scene, side=given.side, held_out_pairs=given.held_out_pairs)
        if given.mosaic > 1:
            drawn = partial(mosaic, across=given.mosaic, side=given.side, held_out_pairs=given.held_out_pairs)
        write = partial(_write, draw=drawn)
        for path, _ in zip(paths, pool.map(write, paths, ranges), strict=True):
            print(path, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
