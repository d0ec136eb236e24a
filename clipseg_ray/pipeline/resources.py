"""How many actors, and what each asks of the cluster, so that reading always fits beside them."""

from __future__ import annotations

from dataclasses import dataclass

from clipseg_ray.config import PoolConfig
from clipseg_ray.errors import UserError

CPU_ACTOR_SHARE = 0.75
"""Of a core, for an actor that computes on one: the rest of each core is left to reading, so that neither starves."""


@dataclass(frozen=True)
class Pool:
    """The Segmenter pool and the readers beside it, in Ray's units."""

    min: int
    max: int
    initial: int
    actor_cpus: float
    actor_gpus: float
    actor_memory: int | None
    reader_cpus: float

    @property
    def needs(self) -> str:
        """What one actor asks for, in words."""
        parts = [f"{self.actor_gpus:g} GPU"] if self.actor_gpus else [f"{self.actor_cpus:g} CPU"]
        if self.actor_memory:
            parts.append(f"{self.actor_memory / 2**30:.1f} GiB of memory")
        return " and ".join(parts)


def device_of(device: str, gpus: float | None, cluster_gpus: float) -> str:
    """``auto`` decided: cuda where actors get GPUs, else cpu."""
    if device != "auto":
        return device
    wanted = cluster_gpus > 0 if gpus is None else gpus > 0
    return "cuda" if wanted else "cpu"


def pool_of(settings: PoolConfig, device: str, cluster: dict[str, float], chunks: int | None) -> Pool:
    """Size the pool for a cluster (Ray's resource totals): never more actors than ``chunks``, where that is known.

    On GPUs an actor holds its GPU and no CPU, so that every core of the node can read and decode. Without GPUs an
    actor computes on one core but asks for three quarters of it: the last quarter of every core is for reading.
    Raises UserError when the pool's settings cannot fit the device.
    """
    gpus = settings.gpus if settings.gpus is not None else (1.0 if device == "cuda" else 0.0)
    if device == "cuda" and gpus == 0:
        raise UserError("pool.gpus: 0 with model.device: cuda; give each actor a GPU or set model.device: cpu")
    if gpus:
        available = max(1, int(cluster.get("GPU", 0) / gpus))
        actor_cpus, reader_cpus = 0.0, 1.0
    else:
        available = max(1, int(cluster.get("CPU", 1)))
        actor_cpus, reader_cpus = CPU_ACTOR_SHARE, 1 - CPU_ACTOR_SHARE
    most = settings.max or available
    if chunks is not None:
        most = max(1, min(most, chunks))
    least = min(settings.min, most)
    if not gpus and most > available:
        # More actors than cores were asked for: they share the cores, and reading still keeps its quarter.
        actor_cpus = CPU_ACTOR_SHARE * available / most
    return Pool(
        least,
        most,
        max(least, min(settings.initial or most, most)),
        actor_cpus,
        gpus,
        settings.memory,
        reader_cpus,
    )
