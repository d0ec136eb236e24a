"""What a whole run will take, from what a rehearsal measured: arithmetic only."""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import asdict, dataclass
from typing import Any

from clipseg_ray.config import PricesConfig, RunConfig
from clipseg_ray.forecast.measurement import Measurement
from clipseg_ray.pipeline.work import Work

DRIVER_CHUNKS_PER_S = 50.0
"""What one driver schedules: each of Ray Data's two operators costs it 4–5 ms a chunk."""
MODEL, CORES, READERS, SHARDS, DRIVER = "model", "cores", "readers", "shards", "driver"


@dataclass(frozen=True)
class Left:
    """What is left to do: images, the chunks they come in, and the shards these lie in."""

    images: int
    chunks: int
    shards: int


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The run with so many actors. ``limit`` is what holds it there; ``cost`` is None without a price."""

    actors: int
    gpu_nodes: int
    cpu_nodes: int
    images_per_s: float
    seconds: float
    limit: str
    cost: float | None


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A whole run. The last of ``scales`` is that of the largest pool the run would have.

    ``next_limit`` would hold it at ``next_ratio`` times its rate. ``cores_needed``: CPU cores that keep one actor
    busy, ``cores_there``: how many it has. ``overhead_s``: start and final checks, in every one of ``scales``.
    """

    left: Left
    masks: int
    output_bytes: int
    scales: tuple[Scale, ...]
    next_limit: str
    next_ratio: float
    cores_needed: float
    cores_there: float
    overhead_s: float
    chunks_per_s: float
    currency: str
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def predict(config: RunConfig, work: Work, found: Measurement, new: bool) -> Prediction:
    """Scale a measurement to all that is left; ``new``: nothing is in the output yet, so that chunks can be larger."""
    left = _left(work, found)
    most = max(1, min(found.pool.max, left.chunks))
    fleet = _Fleet(found, left)
    overhead_s = found.before_s + found.after_s + found.after_chunk_s * max(work.chunks_estimate, left.chunks)
    overhead_s += found.job.start_s if found.job else found.actor_s
    scales = tuple(
        _scale(actors, fleet, left, overhead_s, config.prices)
        for actors in sorted({*(2**power for power in range(most.bit_length())), most})
    )
    limits = sorted(fleet.limits(most).items(), key=lambda item: item[1])
    unbound = min(rate for name, rate in limits if name != DRIVER)
    chunks_per_s = unbound / max(1.0, left.images / max(1, left.chunks))
    return Prediction(
        left=left,
        masks=round(found.costs.masks * left.images),
        output_bytes=round(found.costs.output_bytes * left.images),
        scales=scales,
        next_limit=limits[1][0],
        next_ratio=limits[1][1] / limits[0][1],
        cores_needed=fleet.cores_needed,
        cores_there=fleet.cores(most) / most,
        overhead_s=overhead_s,
        chunks_per_s=chunks_per_s,
        currency=config.prices.currency if config.prices else "",
        warnings=tuple(_warnings(config, chunks_per_s, new)),
    )


def _left(work: Work, found: Measurement) -> Left:
    """Known from records, members and limits where there are any; else from the bytes, at the samples' rate."""
    images = chunks = 0
    for item in work.todo:
        missing = item.missing()
        if missing is not None and item.known is not None:
            images += round(item.known.samples * len(missing) / max(1, item.known.chunks))
            chunks += len(missing)
            continue
        shard = item.shard
        by_size = max(1, round(shard.size * found.costs.images_a_byte))
        count = shard.images or by_size
        in_a_chunk = shard.chunking.decoded(found.costs.decoded_bytes).images
        if found.costs.encoded_bytes:
            in_a_chunk = max(1, min(in_a_chunk, round(shard.chunking.bytes / found.costs.encoded_bytes)))
        present = functools.reduce(operator.and_, item.done.values(), -1)
        of_shard = math.ceil(count / in_a_chunk)
        undone = max(1, of_shard - present.bit_count())
        images += round(count * undone / of_shard)
        chunks += undone
    return Left(images, chunks, len(work.todo))


class _Fleet:
    """How fast so many actors are, on nodes like those that were there."""

    def __init__(self, found: Measurement, left: Left) -> None:
        self._found, self._left = found, left
        self._workers = [node for node in found.nodes if node.cpus or node.gpus]
        wall, cpu = found.costs.wall_s, found.costs.cpu_s
        segmenting = wall["model"] + wall["rle"]
        # Model and run lengths take turns under a lock; a second call writes meanwhile.
        self.alone = 1 / max(segmenting, (segmenting + wall["write"]) / 2)
        self._reading_wall = wall["read"] + wall["decode"]
        self._reading_cpu = cpu["read"] + cpu["decode"]
        self._cpu = sum(cpu.values())
        self._efficiency = 1.0
        if found.job is not None:
            self._efficiency = found.job.images_per_s / min(self._bounds(found.job.actors).values())

    @property
    def cores_needed(self) -> float:
        """Cores that keep one actor busy: its own share of one, and those that read for it."""
        segmenting = self._cpu - self._reading_cpu
        if not self._found.pool.actor_gpus:
            return self._cpu / max(segmenting, 1e-9)
        # A reader that waits for the network holds its core.
        return self.alone * (segmenting + max(self._reading_cpu, self._reading_wall))

    def nodes(self, actors: int) -> tuple[int, int]:
        """(GPU nodes, CPU nodes) that so many actors are paid on; the head is not among them."""
        on_gpus = self._found.pool.actor_gpus
        cpu_nodes = [node for node in self._workers if not node.gpus]
        if not on_gpus:
            cores = max((node.cpus for node in cpu_nodes or self._workers), default=1.0)
            return 0, max(1, math.ceil(actors / max(1.0, cores)))
        each = max((node.gpus for node in self._workers), default=1.0) or 1.0
        return max(1, math.ceil(actors * on_gpus / each)), sum(not node.head for node in cpu_nodes)

    def cores(self, actors: int) -> float:
        """CPU cores beside so many actors."""
        gpu_nodes, cpu_nodes = self.nodes(actors)
        with_gpus = max((node.cpus for node in self._workers if node.gpus), default=0.0)
        without = [node.cpus for node in self._workers if not node.gpus]
        if not self._found.pool.actor_gpus:
            return cpu_nodes * max((node.cpus for node in self._workers), default=1.0)
        return max(1.0, gpu_nodes * with_gpus + sum(without))

    def _bounds(self, actors: int) -> dict[str, float]:
        """Images a second that each step by itself allows."""
        pool, cores = self._found.pool, self.cores(actors)
        readers = max(1.0, (cores - actors * pool.actor_cpus) / pool.reader_cpus)
        return {
            MODEL: actors * self.alone,
            CORES: cores / self._cpu,
            READERS: readers / self._reading_wall,
            SHARDS: self._left.shards / self._reading_wall,
        }

    def limits(self, actors: int) -> dict[str, float]:
        """The same as the job reaches them, and what one driver can schedule."""
        found = {name: self._efficiency * rate for name, rate in self._bounds(actors).items()}
        return {**found, DRIVER: DRIVER_CHUNKS_PER_S * self._left.images / max(1, self._left.chunks)}


def _scale(actors: int, fleet: _Fleet, left: Left, overhead_s: float, prices: PricesConfig | None) -> Scale:
    limits = fleet.limits(actors)
    limit = min(limits, key=lambda name: limits[name])
    rate = limits[limit]
    # Actors that are done wait for the last: a chunk is never divided.
    images = math.ceil(left.chunks / actors) * actors * left.images / max(1, left.chunks)
    seconds = overhead_s + images / rate
    gpu_nodes, cpu_nodes = fleet.nodes(actors)
    cost = None
    if prices is not None:
        hourly = (prices.gpu_node_hour, prices.cpu_node_hour)
        counts = (gpu_nodes, cpu_nodes)
        if all(price is not None for price, count in zip(hourly, counts, strict=True) if count):
            nodes = sum((price or 0.0) * count for price, count in zip(hourly, counts, strict=True))
            cost = (nodes + prices.head_node_hour) * seconds / 3600
    return Scale(
        actors=actors,
        gpu_nodes=gpu_nodes,
        cpu_nodes=cpu_nodes,
        images_per_s=rate,
        seconds=seconds,
        limit=limit,
        cost=cost,
    )


def _warnings(config: RunConfig, chunks_per_s: float, new: bool) -> list[str]:
    if chunks_per_s <= DRIVER_CHUNKS_PER_S:
        return []
    times = chunks_per_s / DRIVER_CHUNKS_PER_S
    share, shares = config.input.share
    drivers = math.ceil(times) * shares
    advice = f"run several drivers into this output, input.part: {share}/{drivers} and so on"
    larger = min(4096, 2 ** math.ceil(math.log2(config.input.chunk_images * times)))
    if new and larger >= config.input.chunk_images * times:
        advice = f"set input.chunk_images: {larger} (and input.chunk_bytes, where it closes them earlier), or {advice}"
    return [
        f"the actors could finish {chunks_per_s:.0f} chunks/s and one driver schedules about "
        f"{DRIVER_CHUNKS_PER_S:.0f}: {advice}"
    ]
