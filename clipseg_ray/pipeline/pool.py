"""How many actors, and what each asks of the cluster, so that reading always fits beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from clipseg_ray.cluster.capacity import Capacity
from clipseg_ray.config import PoolConfig
from clipseg_ray.errors import UserError
from clipseg_ray.pipeline.work import Work

CPU_ACTOR_SHARE = 0.75
"""Of a core, for an actor that computes on one: the rest of each core is left to reading, so that neither starves."""
SMALL_IMAGE_BYTES = 25_000
"""An encoded image in a shard nobody has read, where too few actors would be worse than too many."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The Segmenter pool and the readers beside it, in Ray's units. ``room``: actors that fit the cluster as it is."""

    min: int
    max: int
    initial: int
    actor_cpus: float
    actor_gpus: float
    actor_memory: int | None
    reader_cpus: float
    room: int

    def at_most(self, chunks: int) -> Pool:
        """The same pool with no more actors than there are chunks."""
        most = max(1, min(self.max, chunks))
        return replace(self, min=min(self.min, most), max=most, initial=min(self.initial, most))

    @property
    def needs(self) -> str:
        """What one actor asks for, in words."""
        parts = [f"{self.actor_gpus:g} GPU"] if self.actor_gpus else [f"{self.actor_cpus:g} CPU"]
        if self.actor_memory:
            parts.append(f"{self.actor_memory / 2**30:.1f} GiB of memory")
        return " and ".join(parts)


def pool_of(settings: PoolConfig, device: str, capacity: Capacity, chunks: int) -> Pool:
    """Size the pool for a cluster: never more actors than ``chunks``, the most that can be left to do.

    On GPUs an actor holds its GPU and no CPU, so that every core of the node can read and decode. ``pool.max`` may be
    more than there are: actors without a GPU wait, and an autoscaler that sees them wait brings nodes. Without GPUs an
    actor computes on one core but asks for three quarters of it: the last quarter of every core is for reading, and
    more actors than cores share the cores there are. Raises UserError when the settings cannot fit the device.
    """
    gpus = settings.gpus if settings.gpus is not None else (1.0 if device == "cuda" else 0.0)
    if device == "cuda" and gpus == 0:
        raise UserError("pool.gpus: 0 with model.device: cuda; give each actor a GPU or set model.device: cpu")
    name, share = ("GPU", gpus) if gpus else ("CPU", 1.0)
    room = int(capacity.now.get(name, 0) / share)
    if not gpus and not room:
        raise UserError(
            "model.device: cpu on a cluster without a CPU: a pool on CPUs is sized by those it finds; start the "
            "cluster with at least one such node"
        )
    most = settings.max or int(capacity.most(name) / share)
    most = max(1, min(most, chunks))
    least = min(settings.min, most)
    return Pool(
        min=least,
        max=most,
        initial=max(least, min(settings.initial or most, most)),
        actor_cpus=0.0 if gpus else CPU_ACTOR_SHARE * min(1.0, room / most),
        actor_gpus=gpus,
        actor_memory=settings.memory,
        reader_cpus=1.0 if gpus else 1 - CPU_ACTOR_SHARE,
        room=room,
    )


def chunks_at_most(work: Work) -> int:
    """The most chunks that can be left: in shards nobody has read the images are taken to be small and many."""
    unknown = [item.shard for item in work.todo if item.missing() is None and item.shard.images is None]
    return work.chunks_left + math.ceil(
        sum(
            shard.size / (SMALL_IMAGE_BYTES * shard.chunking.images) + shard.size / shard.chunking.bytes
            for shard in unknown
        )
    )
