"""The checkpoint of an evaluation, as a worker loads it: the weights that its driver found, or none."""

from __future__ import annotations

from dataclasses import dataclass

from clipseg_ray.errors import UserError
from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.checkpoint import Checkpoint


@dataclass(frozen=True)
class Named:
    """A checkpoint by its address, with the hash of its weights. Pickles to workers."""

    checkpoint: str
    revision: str | None
    weights_sha256: str

    def load(self) -> Checkpoint:
        """Raises UserError where other weights are there now."""
        loaded = checkpoints.load(self.checkpoint, self.revision)
        if loaded.weights_sha256 != self.weights_sha256:
            raise UserError(f"model.checkpoint: the weights at {self.checkpoint} are not those the driver found there")
        return loaded
