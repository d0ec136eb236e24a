"""Work on every shard of some truth sets, on Ray, and what a report says of the sets."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from clipseg_ray.cluster.capacity import capacity
from clipseg_ray.evaluation.config import EvaluateConfig
from clipseg_ray.evaluation.truth import Contents, TruthSet
from clipseg_ray.sources.base import Shard

Item = tuple[str, Shard]
"""A shard to be worked on, with the name of its truth set."""


def scored(
    config: EvaluateConfig, worker: Any, spec: Any, truth: Mapping[str, TruthSet], device: str, done: str = "scored"
) -> Iterator[tuple[str, Any]]:
    """What ``worker(spec)`` gives for every shard, called with its Item, and its truth set's name; in any order.

    device: what each of at most ``config.workers.max`` workers holds, a GPU (cuda) or a core. done: what has been done
    to a shard, for the progress that is reported on the terminal.
    """
    from clipseg_ray.cluster.shard_map import map_shards

    if not truth:
        return
    items = [(name, shard) for name, each in truth.items() for shard in each.shards]
    items.sort(key=lambda item: -item[1].size)  # the largest first, so that none is waited for alone at the end
    cluster = capacity().now
    workers = config.workers.max or max(1, int(cluster.get("GPU" if device == "cuda" else "CPU", 1)))
    cpus, gpus = (0.0, 1.0) if device == "cuda" else (1.0, 0.0)
    results = map_shards(worker, spec, items, workers=workers, cpus=cpus, gpus=gpus)
    for number, ((name, shard), result) in enumerate(results, 1):
        print(f"{done} {number}/{len(items)}: {name} {shard.path}", file=sys.stderr, flush=True)
        yield name, result


def truth_facts(config: EvaluateConfig, contents: Mapping[str, Contents]) -> dict[str, Any]:
    """Where each truth set is and how large, as plain values."""
    return {
        name: {"url": config.truth[name], "images": each.images, "queries": len(each.vocabulary)}
        for name, each in contents.items()
    }


def truth_notes(contents: Mapping[str, Contents]) -> list[str]:
    """The same for a person."""
    return [
        "truth: "
        + "; ".join(
            f"{name}, {each.images} images with {len(each.vocabulary)} queries" for name, each in contents.items()
        )
    ]
