"""The model that is scored, as a worker loads it."""

from __future__ import annotations

from dataclasses import dataclass

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.scoring import Scorer


@dataclass(frozen=True, kw_only=True)
class ScoredModel:
    """A checkpoint, and how it computes: what a worker needs to load what the driver found. ``setting`` names the
    checkpoint in errors. Pickles to workers."""

    checkpoint: str
    revision: str | None
    weights_sha256: str
    device: str
    precision: str
    setting: str = "model.checkpoint"

    def scorer(self) -> Scorer:
        """Load it. Raises UserError where other weights are at its place by now."""
        import torch

        from clipseg_ray.model import checkpoint, factory
        from clipseg_ray.model.engine import Engine
        from clipseg_ray.model.precision import default_batching

        if self.device == "cpu":
            torch.set_num_threads(1)
        loaded = checkpoint.load(self.checkpoint, self.revision)
        if loaded.weights_sha256 != self.weights_sha256:
            raise UserError(f"{self.setting}: the weights at {self.checkpoint} are not those the driver found there")
        batch, decode_chunk = default_batching(self.device, self.precision)
        model = factory.make_model(
            loaded, device=self.device, precision=self.precision, batch=batch, decode_chunk=decode_chunk
        )
        return Scorer(Engine(model), loaded.preprocessing)
