"""The training job: a configuration carried out on Ray."""

from __future__ import annotations

from clipseg_ray.cluster.connection import connected, guard_a_local_cluster
from clipseg_ray.storage import Store
from clipseg_ray.training.config import TrainConfig


def run(config: TrainConfig) -> str:
    """Train on the Ray cluster at ``RAY_ADDRESS`` or on this machine; returns where the model is.

    What an earlier run has done is not done again. Raises UserError for what the user can put right.
    """
    guard_a_local_cluster()
    from clipseg_ray.training.ray_train import fit

    with connected():
        fit(config)
    return Store(config.output.url).url_of("model")
