"""What a cluster has, how far it can grow, and on which device its actors compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from clipseg_ray.cluster.ray_internals import most_resources
from clipseg_ray.errors import UserError


@dataclass(frozen=True)
class Capacity:
    """A cluster's CPUs and GPUs (Ray's resource totals): what is there ``now``, and the most there can be.

    ``limit`` is empty where the cluster does not report how far it can grow; Ray's own autoscaler does not.
    """

    now: Mapping[str, float]
    limit: Mapping[str, float] = field(default_factory=dict)

    def most(self, name: str) -> float:
        """The most there can be of a resource, as far as it is known."""
        return max(self.now.get(name, 0), self.limit.get(name, 0))


def capacity() -> Capacity:
    """What the connected cluster has, and how far it can grow where it reports that (Ray's own autoscaler does not)."""
    import ray

    return Capacity(ray.cluster_resources(), most_resources() or {})


def device_of(device: str, gpus: float | None, capacity: Capacity) -> str:
    """``auto`` decided: cuda where actors get GPUs, else cpu.

    Raises UserError while the cluster has nothing to decide it by: a head alone, whose nodes come when they are asked
    for.
    """
    if device != "auto":
        return device
    if gpus is not None:
        return "cuda" if gpus > 0 else "cpu"
    if capacity.most("GPU") > 0:
        return "cuda"
    if capacity.most("CPU") == 0:
        raise UserError(
            "model.device: auto cannot be decided on a cluster that has neither CPUs nor GPUs yet; say cuda or cpu"
        )
    return "cpu"
