"""Images seen in tiles: what it costs and buys over the whole alone, with and without the cascade, on drawn scenes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.harness import Contestant, aligned, environment, race, report, single_thread
from benchmarks.memory import forget_peak, status
from clipseg_ray.demo.scenes import scene
from clipseg_ray.demo.vocabulary import VOCABULARY
from clipseg_ray.masks.logit import logit_of
from clipseg_ray.masks.resize import encode_at_size
from clipseg_ray.masks.rle import decode as draw
from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.embedding import embed_texts
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.model.precision import default_batching, resolve_precision
from clipseg_ray.pixels.decode import decode
from clipseg_ray.pixels.viewed_images import Gathering, ViewedImages
from clipseg_ray.pixels.views import Views

_CHECKPOINT = "builtin:scenes"
_SEED = 30_000_000
_TILES = Views(tiles=2, overlap=0.5, whole=True)
WAYS: dict[str, Views | None] = {
    "whole": None,
    "tiles 2": _TILES,
    "tiles 2, found above 0.1": replace(_TILES, only="found", floor=0.1),
    "tiles 2, found above 0.3": replace(_TILES, only="found", floor=0.3),
}


class Way:
    """One way of seeing, at work on a CPU's one thread; ``names``: so many of the vocabulary, from its first on."""

    def __init__(self, views: Views | None, names: int) -> None:
        single_thread("cpu")
        loaded = checkpoints.load(_CHECKPOINT)
        precision, _ = resolve_precision("auto", "cpu")
        batch, decode_chunk = default_batching("cpu", precision)
        self.views, self.preprocessing, self.precision = views, loaded.preprocessing, precision
        self.engine = Engine(
            make_model(loaded, precision=precision, batch=batch, decode_chunk=decode_chunk), views=views
        )
        self.entries = VOCABULARY[:names]
        self.prompts = self.engine.embed(embed_texts(loaded, [entry.texts[0] for entry in self.entries]))
        self.limit_q = np.full(len(self.entries), logit_of(0.5), np.float32)

    def pixels(self, jpegs: Sequence[bytes]) -> ViewedImages:
        """What a reader hands on of them."""
        gathering = Gathering(len(jpegs), self.preprocessing.size, self.views)
        for jpeg in jpegs:
            found = decode(jpeg, self.preprocessing, views=self.views)
            gathering.add(found.pixels_hwc, found.large_hwc)
        return gathering.done()

    def run(self, jpegs: Sequence[bytes]) -> int:
        """Decode and segment them; how many masks are not empty."""
        blocks = self.engine.segment(self.pixels(jpegs), self.prompts, self.limit_q)
        return sum(int((block.max_logit_p > self.limit_q[block.query_index_p]).sum()) for block in blocks)

    def ious(self, seeds: Sequence[int], side: int) -> np.ndarray:
        """float64 [n, 2]: each true (scene, name)'s IoU at the scene's size, and its share of the scene."""
        found = []
        place = {entry.query_id: number for number, entry in enumerate(self.entries)}
        for seed in seeds:
            shown = scene(seed, side)
            drawn = np.zeros((len(self.entries), side, side), np.bool_)
            seen = self.pixels([shown.jpeg])
            for block in self.engine.segment(seen, self.prompts, self.limit_q, want_logits=True):
                assert block.logits_kwh is not None
                assert block.logits_row_k is not None
                query_k = block.query_index_p[block.logits_row_k]
                rles = encode_at_size(block.logits_kwh, side, side, self.limit_q[query_k])
                drawn[query_k] = draw(rles.counts, side, side)
            for truth in shown.truth:
                if truth.query_id in place:
                    own = drawn[place[truth.query_id]]
                    either = (own | truth.mask_hw).sum()
                    found.append([(own & truth.mask_hw).sum() / either, truth.mask_hw.mean()])
        return np.array(found)


def benchmark(
    *,
    prompts: Sequence[int] = (8, 32),
    images: int = 4,
    scenes: int = 24,
    side: int = 704,
    rounds: int = 3,
    json_file: str | None = None,
) -> dict[str, Any]:
    """Print rates, memory and IoU of each way; return what the JSON line holds."""
    jpegs = [scene(_SEED + number, side).jpeg for number in range(images)]
    races = []
    for number in prompts:
        ways = {name: Way(views, number) for name, views in WAYS.items()}
        contestants = [Contestant(name, partial(way.run, jpegs), images) for name, way in ways.items()]
        races.append(race(f"{number} names, {side}×{side} pixels, decoding included", "image", contestants, rounds))
    memory = {name: [_memory(name, number, side) for number in (prompts[0], 4 * prompts[-1])] for name in WAYS}
    rows = [["", *(f"MiB, {number} names" for number in (prompts[0], 4 * prompts[-1]))]]
    rows += [[name, *(f"{growth / 2**20:.0f}" for growth in grown)] for name, grown in memory.items()]
    notes = [f"Above the ready engine while it segments\n{aligned(rows)}\n"]
    seeds = range(_SEED, _SEED + scenes)
    measured = {name: Way(views, len(VOCABULARY)).ious(seeds, side) for name, views in WAYS.items()}
    rows = [["IoU, mean of pairs", "all", "under 2 % of the scene"]]
    for name, found in measured.items():
        rows.append([name, f"{found[:, 0].mean():.3f}", f"{found[found[:, 1] < 0.02, 0].mean():.3f}"])
    notes.append(f"{scenes} scenes, {len(measured['whole'])} (scene, name) that are there\n{aligned(rows)}\n")
    result = {
        "benchmark": "views",
        "settings": {"checkpoint": _CHECKPOINT, "prompts": list(prompts), "images": images, "side": side},
        "memory_growth_bytes": memory,
        "iou": {name: [found[:, 0].mean(), found[found[:, 1] < 0.02, 0].mean()] for name, found in measured.items()},
        **environment("cpu"),
    }
    report(result, races, notes, json_file)
    return result


def _memory(name: str, prompts: int, side: int) -> int:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_grown, name, prompts, side).result()


def _grown(name: str, prompts: int, side: int) -> int:
    """Bytes of memory at most while it segments, above what it took when ready; names repeat where they are too few."""
    way = Way(WAYS[name], len(VOCABULARY))
    index = np.arange(prompts) % len(VOCABULARY)
    seen = way.pixels([scene(_SEED + number, side).jpeg for number in range(2)])
    pairs = (np.repeat(np.arange(2), prompts), np.tile(index, 2))
    for _ in way.engine.segment(seen, way.prompts, way.limit_q, (pairs[0][:8], pairs[1][:8])):
        pass
    forget_peak()
    ready = status("VmRSS")
    for _ in way.engine.segment(seen, way.prompts, way.limit_q, pairs):
        pass
    return max(0, status("VmHWM") - ready)
