"""What each setting for finer masks buys, on large scenes that training never saw, and what it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.harness import aligned, environment, report, single_thread
from clipseg_ray.config import FOUND, REFINE_EPSILON, REFINE_RADIUS
from clipseg_ray.demo.mosaics import mosaic as draw_mosaic
from clipseg_ray.demo.scenes import DrawnScene, scene
from clipseg_ray.demo.vocabulary import VOCABULARY
from clipseg_ray.evaluation.regions import REGIONS, bands, size_of
from clipseg_ray.masks.guided import GuidedFilter
from clipseg_ray.masks.logit import logit_of
from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.model.merging import enlarged
from clipseg_ray.model.precision import default_batching, resolve_precision
from clipseg_ray.pixels.decode import decode
from clipseg_ray.pixels.viewed_images import Gathering, ViewedImages
from clipseg_ray.pixels.views import Views
from clipseg_ray.queries.prompt_set import embed
from clipseg_ray.queries.query import Query

_CHECKPOINT = "builtin:scenes"
_THRESHOLD = 0.5
_RESAMPLES = 2000
_ROUNDS = 5
_FILTER = GuidedFilter(REFINE_RADIUS, REFINE_EPSILON)
_MASKS = 8  # that are timed together
_PARTS = ("IoU", *REGIONS)


def benchmark(
    *, scenes: int, first: int, side: int, mosaic: int, tiles: int, json_file: str | None = None
) -> dict[str, Any]:
    """Run it; print it, and return what the JSON line holds. first: the seed of the first scene or mosaic."""
    single_thread("cpu")
    seen = Seen(side=side, mosaic=mosaic, tiles=tiles)
    counted = [seen.counts(first + number) for number in range(scenes)]
    measured = intervals(counted)
    print(f"{scenes} scenes of {side}² ({mosaic}×{mosaic}), {seen.pairs} present pairs, threshold {_THRESHOLD}; 95 %")
    print(f"{aligned(rows_of(measured))}\n")
    taken = {grid: _times(grid) for grid in (352, 704)}
    names = next(iter(taken.values()))
    print(
        aligned(
            [
                ["ms, one thread", *names],
                *([f"{grid}²", *map("{:.2f}".format, own.values())] for grid, own in taken.items()),
            ]
        )
    )
    settings = {"checkpoint": _CHECKPOINT, "scenes": scenes, "first": first, "side": side, "mosaic": mosaic}
    result = {
        "benchmark": "finer",
        "settings": {**settings, "tiles": tiles, "pairs": seen.pairs},
        "measures": measured,
        "milliseconds": taken,
        "agrees": all(map(_agrees, taken)),
        **environment("cpu"),
    }
    report(result, [], [], json_file)
    return result


class Seen:
    """The model at work on scenes of one side. pairs: (scene, query) that were there in all that were counted."""

    def __init__(self, *, side: int, mosaic: int, tiles: int) -> None:
        loaded = checkpoints.load(_CHECKPOINT)
        precision, _ = resolve_precision("auto", "cpu")
        batch, decode_chunk = default_batching("cpu", precision)
        model = make_model(loaded, precision=precision, batch=batch, decode_chunk=decode_chunk)
        self._views = Views(tiles=tiles, overlap=0.5, whole=True)
        self._engine = Engine(model, views=self._views)
        self._preprocessing, self._side, self.pairs = loaded.preprocessing, side, 0
        self._draw = partial(scene, side=side) if mosaic == 1 else partial(draw_mosaic, across=mosaic, side=side)
        queries = [
            Query(
                query_id=entry.query_id,
                kind=entry.kind,
                texts=entry.texts[:1],
                templates=("{}",),
                threshold=_THRESHOLD,
            )
            for entry in VOCABULARY
        ]
        self._place = {query.query_id: number for number, query in enumerate(queries)}
        self._conditionals_qc = embed(queries, loaded)

    def counts(self, seed: int) -> dict[str, np.ndarray]:
        """By setting, int64 [len(_PARTS), 3]: pixels in mask and truth, in the mask alone, in the truth alone."""
        shown = self._draw(seed)
        self.pairs += len(shown.truth)
        found = decode(shown.jpeg, self._preprocessing, views=self._views)
        gathering = Gathering(1, self._preprocessing.size, self._views)
        gathering.add(found.pixels_hwc, found.large_hwc)
        images = gathering.done()
        prompts = self._engine.embed(self._conditionals_qc[[self._place[truth.query_id] for truth in shown.truth]])
        plain = self._engine.decode(self._engine.encode(found.pixels_hwc[None]), prompts)[0]
        tiled = _merged(self._engine, images, prompts)
        refined, refined_tiled = (
            _FILTER.of_image(torch.from_numpy(pixels_hwc)) for pixels_hwc in (found.pixels_hwc, images.finest(0))
        )
        in_tiles_q = plain.amax((1, 2)) > float(logit_of(FOUND))
        cascade = torch.where(in_tiles_q[:, None, None], tiled, enlarged(plain, tiled.shape[1]))
        size, truth = (self._side, self._side), _Truth(shown)
        masks = {
            "grid": _nearest(plain, size),
            "image size": _bilinear(plain, size),
            "refined, grid": _nearest(refined(plain), size),
            "refined, image size": _bilinear(refined(plain), size),
            "tiles, image size": _bilinear(tiled, size),
            "tiles, refined, grid": _nearest(refined_tiled(tiled), size),
            "tiles, refined, image size": _bilinear(refined_tiled(tiled), size),
            f"tiles for found above {FOUND}, refined, image size": _bilinear(refined_tiled(cascade), size),
        }
        return {name: truth.counts(masks_qwh.numpy()) for name, masks_qwh in masks.items()}


class _Truth:
    """What a scene holds, with the pixels near each border looked for once for all settings: as ``evaluate`` counts."""

    def __init__(self, shown: DrawnScene) -> None:
        self._labels_qn = [truth.mask_hw.T.ravel() for truth in shown.truth]
        self._near_q = [
            [(region, np.flatnonzero(near_hw.T)) for region, near_hw in bands(truth.mask_hw)] for truth in shown.truth
        ]

    def counts(self, masks_qwh: np.ndarray) -> np.ndarray:
        """See ``Seen.counts``; masks bool."""
        counts = np.zeros((len(_PARTS), 3), np.int64)
        for mask_wh, label_n, near in zip(masks_qwh, self._labels_qn, self._near_q, strict=True):
            mask_n = mask_wh.ravel()
            own = _overlap(mask_n, label_n)
            counts[[0, 1 + size_of(int(np.count_nonzero(label_n)), label_n.size)]] += own
            for region, index_k in near:
                counts[1 + region] += _overlap(mask_n[index_k], label_n[index_k])
        return counts


def _overlap(mask_n: np.ndarray, label_n: np.ndarray) -> tuple[int, int, int]:
    both, mask, truth = (int(np.count_nonzero(each_n)) for each_n in (mask_n & label_n, mask_n, label_n))
    return both, mask - both, truth - both


def intervals(counted: Sequence[Mapping[str, np.ndarray]]) -> dict[str, dict[str, tuple[float, float, float]]]:
    """By setting and part, of ``Seen.counts`` of each scene: pooled IoU, and its bounds when scenes are drawn anew.

    Parts of which no scene has anything are left out.
    """
    drawn_rs = np.random.default_rng(0).multinomial(len(counted), [1 / len(counted)] * len(counted), _RESAMPLES)
    found: dict[str, dict[str, tuple[float, float, float]]] = {}
    for name in counted[0]:
        counts_spk = np.array([own[name] for own in counted])
        found[name] = {}
        for part, counts_sk in zip(_PARTS, counts_spk.transpose(1, 0, 2), strict=True):
            if counts_sk.any():
                resampled_rk = drawn_rs @ counts_sk
                iou_r = resampled_rk[:, 0] / np.maximum(resampled_rk.sum(1), 1)
                low, high = np.quantile(iou_r[resampled_rk.any(1)], (0.025, 0.975))
                found[name][part] = (float(counts_sk[:, 0].sum() / counts_sk.sum()), float(low), float(high))
    return found


def rows_of(measured: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> list[list[str]]:
    """As a table's."""
    rows = [["", *_PARTS]]
    for name, own in measured.items():
        values = [own.get(part) for part in _PARTS]
        rows.append([name, *("none" if each is None else "{:.3f} ({:.3f}–{:.3f})".format(*each) for each in values)])
    return rows


def _merged(engine: Engine, images: ViewedImages, prompts: Any) -> torch.Tensor:
    """Float32 [q, w, h]: logits of one image in tiles, with every prompt."""
    blocks = engine.segment(images, prompts, np.full(len(prompts), -np.inf, np.float32), want_logits=True)
    return torch.from_numpy(np.concatenate([block.logits_kwh for block in blocks if block.logits_kwh is not None]))


def _nearest(logits_qwh: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """As ``evaluate`` lays masks of the grid over a truth."""
    columns, rows = (
        ((torch.arange(new) + 0.5) * old / new).long() for new, old in zip(size, logits_qwh.shape[1:], strict=True)
    )
    return logits_qwh[:, columns[:, None], rows] > 0


def _bilinear(logits_qwh: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """As ``masks.size: image`` makes them."""
    return F.interpolate(logits_qwh[:, None], size, mode="bilinear", align_corners=False)[:, 0] > 0


def _made(grid: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels, uint8 [1, h, w, 3], and logits of a mask each, [p, w, h]."""
    rng = np.random.default_rng(0)
    coarse_p1wh = torch.from_numpy(rng.standard_normal((_MASKS, 1, 22, 22)).astype(np.float32) * 4)
    logits_pwh = F.interpolate(coarse_p1wh, (grid, grid), mode="bicubic")[:, 0].contiguous()
    return torch.from_numpy(rng.integers(0, 256, (1, grid, grid, 3), np.uint8)), logits_pwh


def _agrees(grid: int) -> bool:
    """Whether machine code and PyTorch's operations do, as far as rounding allows."""
    pixels_bhwc, logits_pwh = _made(grid)
    ours_pwh = _FILTER.of_image(pixels_bhwc[0])(logits_pwh).sigmoid()
    guide = _FILTER.guide_with_torch(pixels_bhwc.permute(0, 3, 2, 1).contiguous())
    never_p, rows_p = torch.full((_MASKS,), -torch.inf), torch.zeros(_MASKS, dtype=torch.int64)
    theirs_pwh = _FILTER.refined_with_torch(logits_pwh, guide, rows_p, never_p).sigmoid()
    return bool((ours_pwh - theirs_pwh).abs().max() < 1e-6 / REFINE_EPSILON**0.5)


def _times(grid: int) -> dict[str, float]:
    """Milliseconds: of what an image takes once, of a mask, of one too faint to be filtered, of a mask in PyTorch."""
    pixels_bhwc, logits_pwh = _made(grid)
    faint_pwh = logits_pwh - 40
    guide, rows_p, limit_p = _FILTER.guide(pixels_bhwc), torch.zeros(_MASKS, dtype=torch.int64), torch.zeros(_MASKS)
    calls: dict[str, tuple[int, Callable[[], object]]] = {
        "an image": (1, lambda: _FILTER.guide(pixels_bhwc)),
        "a mask": (_MASKS, lambda: _FILTER.refined(logits_pwh, guide, rows_p, limit_p)),
        "a faint one": (_MASKS, lambda: _FILTER.refined(faint_pwh, guide, rows_p, limit_p)),
        "a mask, PyTorch": (
            _MASKS,
            lambda: _FILTER.refined_with_torch(logits_pwh, guide, rows_p, _FILTER.faint(limit_p)),
        ),
    }
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(_ROUNDS + 1):
        for name, (masks, call) in calls.items():
            started = time.perf_counter()
            call()
            if turn:  # the first compiles
                taken[name].append((time.perf_counter() - started) * 1e3 / masks)
    return {name: statistics.median(values) for name, values in taken.items()}
