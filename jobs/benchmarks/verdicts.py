"""How many verdicts a useful interval needs: people who know the truth answer on drawn scenes, many times over.

The scores are the shipped model's on scenes that it never saw, whose truth is known. A user's sample is drawn of them
with replacement, verdicts are given in the order in which they are asked for, and each interval is held against the
shares in all scenes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch

from benchmarks.harness import aligned, environment, report
from clipseg_ray.demo.scenes import scene
from clipseg_ray.demo.vocabulary import VOCABULARY
from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.model.precision import default_batching, resolve_precision
from clipseg_ray.pixels.decode import decode
from clipseg_ray.queries.prompt_set import embed
from clipseg_ray.queries.query import Query
from clipseg_ray.verdicts.asking import order
from clipseg_ray.verdicts.estimates import Proposal, Share, estimate

_CHECKPOINT = "builtin:scenes"
_FIRST = 20_000_000
_TOGETHER = 25  # scenes of a task
_FIXED = 0.7  # a threshold that nobody chose for what it gives
_WISHED = 0.9
_EVERY = 3  # of the vocabulary's queries, that not all of them need be judged so many times


def benchmark(
    *,
    scenes: int = 1500,
    samples: Sequence[int] = (64, 256, 512),
    verdicts: Sequence[int] = (20, 40, 80, 120),
    repeats: int = 15,
    json_file: str | None = None,
) -> dict[str, Any]:
    """Run it, print it, and return what the JSON line holds."""
    seeds = list(range(_FIRST, _FIRST + scenes))
    lots = [seeds[start : start + _TOGETHER] for start in range(0, scenes, _TOGETHER)]
    cells = [(sample, number) for sample in samples for number in verdicts if number <= sample]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        score_nq, there_nq = (np.concatenate(each) for each in zip(*pool.map(_scored, lots), strict=True))
        worlds = [(score_nq[:, q], there_nq[:, q], cell, repeats) for cell in cells for q in range(score_nq.shape[1])]
        found = list(pool.map(_judged, worlds, chunksize=4))
    by_cell = {cell: found[n * score_nq.shape[1] : (n + 1) * score_nq.shape[1]] for n, cell in enumerate(cells)}
    measured = [{"sample": cell[0], "verdicts": cell[1], **_measured(each)} for cell, each in by_cell.items()]
    titles = list(measured[0])
    print(f"{scenes} scenes, {score_nq.shape[1]} queries, {repeats} samples of each; covered: 0.95 is meant")
    print(aligned([[title, *(_text(each[title]) for each in measured)] for title in titles]) + "\n")
    result = {
        "benchmark": "verdicts",
        "settings": {"checkpoint": _CHECKPOINT, "scenes": scenes, "repeats": repeats, "fixed": _FIXED},
        "measures": measured,
        "agrees": all(
            each["fixed right covered"] > 0.9 and each["fixed found covered"] > 0.9
            for each in measured
            if each["verdicts"] >= 40
        ),
        **environment("cpu"),
    }
    report(result, [], [], json_file)
    return result


@cache
def _asked() -> tuple[Engine, Any, list[str], Any]:
    """The engine, its preprocessing, ids and prompts of the queries."""
    torch.set_num_threads(1)
    checkpoint = checkpoints.load(_CHECKPOINT)
    precision, _ = resolve_precision("auto", "cpu")
    batch, decode_chunk = default_batching("cpu", precision)
    engine = Engine(make_model(checkpoint, precision=precision, batch=batch, decode_chunk=decode_chunk))
    entries = [entry for entry in VOCABULARY if entry.kind != "coloured object"][::_EVERY]
    queries = [
        Query(query_id=entry.query_id, kind=entry.kind, texts=entry.texts[:1], templates=("{}",), threshold=0.5)
        for entry in entries
    ]
    return (
        engine,
        checkpoint.preprocessing,
        [query.query_id for query in queries],
        engine.embed(embed(queries, checkpoint)),
    )


def _scored(seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Of each scene and query the score, float64 [n, q], and whether the thing is there, bool [n, q]."""
    engine, preprocessing, ids, prompts = _asked()
    drawn = [scene(seed) for seed in seeds]
    features = engine.encode(np.stack([decode(each.jpeg, preprocessing).pixels_hwc for each in drawn]))
    image_p, query_p = np.repeat(np.arange(len(drawn)), len(ids)), np.tile(np.arange(len(ids)), len(drawn))
    blocks = engine.decode_pairs(features, image_p, prompts, query_p)
    score_p = np.concatenate([logits_pwh.sigmoid().amax((1, 2)).float().numpy() for logits_pwh in blocks])
    there_nq = np.array([[name in {truth.query_id for truth in each.truth} for name in ids] for each in drawn])
    return score_p.reshape(len(drawn), -1).astype(np.float64), there_nq


def _judged(world: tuple[np.ndarray, np.ndarray, tuple[int, int], int]) -> dict[str, list[float]]:
    """What came of each of some samples of one query's scenes."""
    score_w, there_w, (sample, verdicts), repeats = world
    found = defaultdict[str, list[float]](list)
    best = max(_harmonic(*_true(score_w, there_w, threshold)) for threshold in np.unique(score_w))
    for repeat in range(repeats):
        drawn_n = np.random.default_rng([repeat, sample]).integers(0, len(score_w), sample)
        score_n, there_n = score_w[drawn_n], there_w[drawn_n]
        names = [str(place) for place in range(sample)]
        said = {place: bool(there_n[place]) for place in order(score_n, names, str(repeat))[:verdicts]}
        estimates = estimate(score_n, said)
        found["without"].append(float(estimates is None))
        if estimates is None:
            continue
        at = max(int((estimates.threshold_t <= _FIXED).sum()) - 1, 0)
        threshold = float(estimates.threshold_t[at])
        for name, value_t, bounds_tb, true in zip(
            ("right", "found"),
            (estimates.right_t, estimates.found_t),
            (estimates.right_bounds_tb, estimates.found_bounds_tb),
            _true(score_w, there_w, threshold),
            strict=True,
        ):
            low, high = bounds_tb[at]
            _hold(found, f"fixed {name}", Share(value=float(value_t[at]), low=float(low), high=float(high)), true)
        balanced, wished = estimates.balanced(), estimates.with_precision(_WISHED)
        for label, proposal in (("balanced", balanced), ("wished", wished)):
            if proposal is not None:
                _propose(found, label, proposal, _true(score_w, there_w, proposal.threshold))
        found["loss"].append(best - _harmonic(*_true(score_w, there_w, balanced.threshold)))
    return found


def _propose(found: dict[str, list[float]], label: str, proposal: Proposal, true: tuple[float, float]) -> None:
    for name, share, value in (("right", proposal.right, true[0]), ("found", proposal.found, true[1])):
        _hold(found, f"{label} {name}", share, value)


def _hold(found: dict[str, list[float]], name: str, share: Share, true: float) -> None:
    found[f"{name} covered"].append(float(share.low - 1e-9 <= true <= share.high + 1e-9))
    found[f"{name} width"].append(share.high - share.low)
    found[f"{name} error"].append(share.value - true)


def _true(score_w: np.ndarray, there_w: np.ndarray, threshold: float) -> tuple[float, float]:
    """Of found scenes that are right, of right scenes that are found."""
    above_w = score_w > threshold
    return float(there_w[above_w].mean()) if above_w.any() else 0.0, float(above_w[there_w].mean())


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0


def _measured(found: Sequence[dict[str, list[float]]]) -> dict[str, float]:
    """Means over queries and samples."""

    def mean(name: str) -> float:
        return float(np.mean([value for each in found for value in each[name]]))

    names = [f"{label} {name}" for label in ("fixed", "balanced", "wished") for name in ("right", "found")]
    return {
        **{f"{name} {what}": mean(f"{name} {what}") for name in names for what in ("covered", "width")},
        **{f"balanced {name} error": mean(f"balanced {name} error") for name in ("right", "found")},
        "wished right error": mean("wished right error"),
        "loss of F1": mean("loss"),
        "without": mean("without"),
    }


def _text(value: float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
