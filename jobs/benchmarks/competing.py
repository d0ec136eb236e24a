"""Names asked alone and as one group, of scenes that training never saw: measures with bootstrap intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks.harness import aligned, environment, report
from clipseg_ray.demo.shards import write_shards
from clipseg_ray.demo.vocabulary import VOCABULARY
from clipseg_ray.evaluation.counts import index_of
from clipseg_ray.evaluation.metrics import Metrics
from clipseg_ray.evaluation.protocols import Asking, Task
from clipseg_ray.evaluation.questions import Questions, prepare
from clipseg_ray.evaluation.scoring import Scorer
from clipseg_ray.evaluation.tally import Tally
from clipseg_ray.evaluation.truth import TruthSet, survey
from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.model.precision import default_batching, resolve_precision
from clipseg_ray.sources.base import Shard

_CHECKPOINT = "builtin:scenes"
_SEEDS = {"tune": 10_000_000, "test": 20_000_000}
_IN_A_SHARD = 5  # what is drawn together in a resample
_FIELDS = [field.name for field in fields(Tally) if isinstance(field.default, int)]


@dataclass(frozen=True)
class _Scoring:
    """Scores shards of one truth set, each way of asking by itself; pickles to processes."""

    truth: TruthSet
    questions: tuple[Questions, ...]

    def __call__(self, shard: Shard) -> list[Metrics]:
        found = _scorer().score(self.truth, shard, self.questions)
        return [counts for counts in found if isinstance(counts, Metrics)]  # which all are whose maps are not decided


def benchmark(
    *, scenes: int = 500, tune: int = 200, resamples: int = 2000, json_file: str | None = None
) -> dict[str, Any]:
    """Run it on so many scenes, thresholds from ``tune`` others; print it, and return what the JSON line holds."""
    with TemporaryDirectory() as folder, ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        truth = {}
        for name, images in (("tune", tune), ("test", scenes)):
            drawn = Path(folder, name)
            write_shards(drawn, shards=images // _IN_A_SHARD, images=_IN_A_SHARD, seed=_SEEDS[name])
            truth[name] = TruthSet.of([str(drawn)])
        tables = _tables(Path(folder))
        questions = tuple(_questions(table, truth["test"]) for table in tables.values())
        totals = {name: [Metrics() for _ in tables] for name in truth}
        for found in pool.map(_Scoring(truth["tune"], questions), truth["tune"].shards):
            for total, each in zip(totals["tune"], found, strict=True):
                total.merge(each)
        thresholds = [total.best_threshold() or 0.5 for total in totals["tune"]]
        tallies: list[list[list[tuple[int, ...]]]] = []
        for found in pool.map(_Scoring(truth["test"], questions), truth["test"].shards):
            tallies.append([_tallies(*each) for each in zip(found, questions, thresholds, strict=True)])
            for total, each in zip(totals["test"], found, strict=True):
                total.merge(each)
    counted_tsqf = np.array(tallies, np.int64).swapaxes(0, 1)
    measured = {name: _measured(counted_sqf, resamples) for name, counted_sqf in zip(tables, counted_tsqf, strict=True)}
    agrees = all(
        np.allclose([own["mIoU"][0], own["IoU_FG"][0]], np.array([scores.miou, scores.iou_fg], np.float64))
        for own, total, threshold in zip(measured.values(), totals["test"], thresholds, strict=True)
        for scores in [total.scores(thresholds=threshold)]
    )
    rows = [["", "threshold", *next(iter(measured.values()))]]
    for (name, own), threshold in zip(measured.items(), thresholds, strict=True):
        cells = (f"{point:.3f} ({low:.3f}–{high:.3f})" for point, low, high in own.values())
        rows.append([name, f"{threshold:g}", *cells])
    print(f"{scenes} scenes, {len(questions[0].things)} names asked of each; 95 % intervals of {resamples} resamples")
    print(f"{aligned(rows)}\n")
    result = {
        "benchmark": "competing",
        "settings": {"checkpoint": _CHECKPOINT, "scenes": scenes, "tune": tune, "resamples": resamples},
        "thresholds": dict(zip(tables, thresholds, strict=True)),
        "measures": measured,
        "agrees": agrees,
        **environment("cpu"),
    }
    report(result, [], [], json_file)
    return result


@cache
def _scorer() -> Scorer:
    torch.set_num_threads(1)
    checkpoint = checkpoints.load(_CHECKPOINT)
    precision, _ = resolve_precision("auto", "cpu")
    batch, decode_chunk = default_batching("cpu", precision)
    model = make_model(checkpoint, precision=precision, batch=batch, decode_chunk=decode_chunk)
    return Scorer(Engine(model), checkpoint.preprocessing)


def _tables(folder: Path) -> dict[str, str]:
    """The scenes' names as a query table: alone, and as a group."""
    names = [
        {"query_id": entry.query_id, "kind": entry.kind, "text": entry.texts[0], "concept": entry.query_id}
        for entry in VOCABULARY
        if entry.kind == "object"
    ]
    group = [{**row, "group": "names"} for row in names]
    found = {}
    for number, (name, rows) in enumerate({"alone": names, "one group": group}.items()):
        path = folder / f"{number}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found[name] = str(path)
    return found


def _questions(table: str, truth: TruthSet) -> Questions:
    asking = Asking(protocol="table", table=table)
    things = asking.things(survey(truth).vocabulary)
    return prepare(Task("test", asking, tuple(things), everywhere=True), checkpoints.load(_CHECKPOINT), {})


def _tallies(found: Metrics, questions: Questions, threshold: float) -> list[tuple[int, ...]]:
    """Of each thing, in order."""
    by_id = {asked.query_id: counts for asked, counts in found.counts.items()}
    tallies = [by_id[thing.query_id].at(index_of(threshold)) for thing in questions.things]
    return [tuple(getattr(tally, name) for name in _FIELDS) for tally in tallies]


def _measured(counted_sqf: np.ndarray, resamples: int) -> Mapping[str, tuple[float, float, float]]:
    """Each measure, with the bounds of its interval when shards are drawn with replacement."""
    shards = len(counted_sqf)
    drawn_rs = np.random.default_rng(0).multinomial(shards, [1 / shards] * shards, resamples)
    resampled = _measures(np.tensordot(drawn_rs, counted_sqf, 1))
    bounds = {name: np.quantile(values_r, (0.025, 0.975)) for name, values_r in resampled.items()}
    points = _measures(counted_sqf.sum(0, keepdims=True))
    return {name: (float(point[0]), float(bounds[name][0]), float(bounds[name][1])) for name, point in points.items()}


def _measures(counted_rqf: np.ndarray) -> dict[str, np.ndarray]:
    """As ``Scores`` has them, float64 [r]: of int64 [r, q, f], tallies of each query."""
    of = {name: counted_rqf[..., place] for place, name in enumerate(_FIELDS)}
    true = of["true_positive"] + of["false_negative"]
    either = true + of["false_positive"]
    iou_rq = np.where(true > 0, of["true_positive"] / np.maximum(either, 1), np.nan)
    pooled = {name: values_rq.sum(1) for name, values_rq in of.items()}
    return {
        "mIoU": np.nanmean(iou_rq, 1),
        "IoU_FG": pooled["true_positive"] / either.sum(1),
        "absent, silent": pooled["absent_silent"] / (pooled["absent_silent"] + pooled["absent_found"]),
        "present, found": pooled["present_found"] / (pooled["present_found"] + pooled["present_silent"]),
    }
