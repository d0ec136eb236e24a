"""What a rehearsal found, as plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from clipseg_ray.forecast.step_costs import StepCosts
from clipseg_ray.pipeline.pool import Pool


@dataclass(frozen=True)
class Node:
    """One machine of the cluster, in Ray's units."""

    cpus: float
    gpus: float
    head: bool


@dataclass(frozen=True, kw_only=True)
class MeasuredJob:
    """The whole job, for a while: ``images_per_s`` with ``actors``, all at work, in chunks of ``chunk_images``.

    ``start_s``: what it takes from the first call to Ray Data until the pool is at work, in lost time.
    """

    actors: int
    chunk_images: int
    images: int
    seconds: float
    images_per_s: float
    start_s: float


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a rehearsal found.

    ``before_s``: from the process's start until the first chunk is asked for; ``wait_s``, within it, for a node that
    can take an actor. ``actor_s``: loading the model in an actor. ``after_s`` and ``after_chunk_s``: the final checks,
    fixed and for each chunk of the dataset.
    """

    device: str
    precision: str
    costs: StepCosts
    job: MeasuredJob | None
    nodes: tuple[Node, ...]
    pool: Pool
    before_s: float
    wait_s: float
    actor_s: float
    after_s: float
    after_chunk_s: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)
