"""What each setting for finer masks buys, on large scenes that training never saw, and what it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.harness import aligned, environment, report
from clipseg_ray.config import REFINE_EPSILON, REFINE_RADIUS
from clipseg_ray.demo.mosaics import mosaic as draw_mosaic
from clipseg_ray.demo.scenes import DrawnScene, scene
from clipseg_ray.demo.vocabulary import VOCABULARY
from clipseg_ray.evaluation.answers import Answers
from clipseg_ray.evaluation.metrics import AskedQuery
from clipseg_ray.evaluation.tally import Overlap, Tally
from clipseg_ray.masks.guided import GuidedFilter
from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.model.precision import default_batching, resolve_precision
from clipseg_ray.pixels.decode import decode
from clipseg_ray.pixels.viewed_images import Gathering, ViewedImages
from clipseg_ray.pixels.views import Views
from clipseg_ray.queries.prompt_set import embed
from clipseg_ray.queries.query import Query

_CHECKPOINT = "builtin:scenes"
_FIRST = 70_000_000
_FIRST_MOSAIC = 9_000_000  # whose scenes' seeds are 9 and 16 times that, and never trained on either
_THRESHOLD = 0.5
_RESAMPLES = 2000
_ROUNDS = 5
_VIEWS = Views(tiles=2, overlap=0.5, whole=True)
_FILTER = GuidedFilter(REFINE_RADIUS, REFINE_EPSILON)
_MASKS = 8  # that are timed together

Mask = Callable[[torch.Tensor, tuple[int, int]], torch.Tensor]
"""(logits [q, w, h], width and height of the truth) → bool [q, width, height]."""


def benchmark(*, scenes: int, side: int, mosaic: int, json_file: str | None = None) -> dict[str, Any]:
    """Run it; print it, and return what the JSON line holds."""
    torch.set_num_threads(1)
    settings = {
        "grid": ("plain", _nearest),
        "image size": ("plain", _bilinear),
        "refined, grid": ("refined", _nearest),
        "refined, image size": ("refined", _bilinear),
        "tiles 2, image size": ("tiles", _bilinear),
        "tiles 2, refined, image size": ("tiles, refined", _bilinear),
    }
    counted: dict[str, list[Tally]] = {name: [] for name in settings}
    for shown, logits in _asked(scenes, side, mosaic):
        for name, (form, masks) in settings.items():
            counted[name].append(_tally(shown, masks(logits[form], (side, side)).numpy()))
    measured = {name: _measured(tallies) for name, tallies in counted.items()}
    rows = [["", *next(iter(measured.values()))]]
    for name, own in measured.items():
        rows.append([name, *(f"{point:.3f} ({low:.3f}–{high:.3f})" for point, low, high in own.values())])
    pairs = sum(tally.present for tally in counted["grid"])
    print(
        f"{scenes} scenes of {side}² ({mosaic}×{mosaic}), {pairs} present pairs, threshold {_THRESHOLD}; 95 % intervals"
    )
    print(f"{aligned(rows)}\n")
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
    result = {
        "benchmark": "finer",
        "settings": {"checkpoint": _CHECKPOINT, "scenes": scenes, "side": side, "mosaic": mosaic, "pairs": pairs},
        "measures": measured,
        "milliseconds": taken,
        "agrees": all(map(_agrees, taken)),
        **environment("cpu"),
    }
    report(result, [], [], json_file)
    return result


def _asked(scenes: int, side: int, mosaic: int) -> Iterator[tuple[DrawnScene, Mapping[str, torch.Tensor]]]:
    """Each scene with the logits of all that it holds, as the model gives them and refined: float32 [q, w, h]."""
    checkpoint = checkpoints.load(_CHECKPOINT)
    precision, _ = resolve_precision("auto", "cpu")
    batch, decode_chunk = default_batching("cpu", precision)
    model = make_model(checkpoint, precision=precision, batch=batch, decode_chunk=decode_chunk)
    engine = Engine(model, views=_VIEWS)
    queries = [
        Query(query_id=entry.query_id, kind=entry.kind, texts=entry.texts[:1], templates=("{}",), threshold=_THRESHOLD)
        for entry in VOCABULARY
    ]
    place = {query.query_id: number for number, query in enumerate(queries)}
    conditionals_qc = embed(queries, checkpoint)
    draw = partial(scene, side=side) if mosaic == 1 else partial(draw_mosaic, across=mosaic, side=side)
    for number in range(scenes):
        shown = draw((_FIRST if mosaic == 1 else _FIRST_MOSAIC) + number)
        found = decode(shown.jpeg, checkpoint.preprocessing, views=_VIEWS)
        prompts = engine.embed(conditionals_qc[[place[truth.query_id] for truth in shown.truth]])
        logits_qwh = engine.decode(engine.encode(found.pixels_hwc[None]), prompts)[0]
        seen = Gathering(1, checkpoint.preprocessing.size, _VIEWS)
        seen.add(found.pixels_hwc, found.large_hwc)
        images = seen.done()
        tiled_qwh = _merged(engine, images, prompts)
        refined, refined_tiled = (
            _FILTER.of_image(torch.from_numpy(pixels_hwc)) for pixels_hwc in (found.pixels_hwc, images.finest(0))
        )
        yield (
            shown,
            {
                "plain": logits_qwh,
                "refined": refined(logits_qwh),
                "tiles": tiled_qwh,
                "tiles, refined": refined_tiled(tiled_qwh),
            },
        )


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


def _tally(shown: DrawnScene, masks_qwh: np.ndarray) -> Tally:
    answers = Answers()
    for truth, mask_wh in zip(shown.truth, masks_qwh, strict=True):
        label_wh = np.ascontiguousarray(truth.mask_hw.T)
        asked = AskedQuery(truth.kind, truth.query_id)
        answers.update(asked, mask_wh, label_wh, None, score=1.0, size=label_wh.size)
    return reduce(Tally.__add__, (answer.present for answer in answers.answers.values()))


def _measured(tallies: list[Tally]) -> dict[str, tuple[float, float, float]]:
    """Each measure, with the bounds of its interval when scenes are drawn with replacement."""
    drawn_rs = np.random.default_rng(0).multinomial(len(tallies), [1 / len(tallies)] * len(tallies), _RESAMPLES)
    found = {}
    for name, part in _PARTS.items():
        counts_sk = np.array([(own.both, own.mask, own.truth) for own in map(part, tallies)])
        resampled_rk = drawn_rs @ counts_sk
        low, high = np.quantile(resampled_rk[:, 0] / resampled_rk.sum(1), (0.025, 0.975))
        total_k = counts_sk.sum(0)
        found[name] = (float(total_k[0] / total_k.sum()), float(low), float(high))
    return found


_PARTS: Mapping[str, Callable[[Tally], Overlap]] = {
    "IoU": lambda tally: Overlap(tally.true_positive, tally.false_positive, tally.false_negative),
    "within 6 px of the border": lambda tally: tally.border,
    "within 1 % of the diagonal": lambda tally: tally.border_diagonal,
    "small": lambda tally: tally.small,
    "medium": lambda tally: tally.medium,
    "large": lambda tally: tally.large,
}


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
