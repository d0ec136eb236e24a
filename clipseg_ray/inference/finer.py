"""How images are seen and borders found, outside of a run: a configuration's ``model.views`` and ``masks.refine``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from clipseg_ray.config import MasksConfig, ModelConfig, ViewsConfig, faults_of_finer
from clipseg_ray.errors import UserError
from clipseg_ray.masks.guided import GuidedFilter
from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.pixels.views import Views
from clipseg_ray.settings import Settings


@dataclass(frozen=True)
class Finer:
    """``views``: None where only the whole image is seen; ``refine``: None where logits stay as they are."""

    views: Views | None = None
    refine: GuidedFilter | None = None

    @classmethod
    def of(
        cls,
        views: ViewsConfig | Mapping[str, Any] | None,
        refine: Literal["guided"] | None,
        radius: int | None,
        epsilon: float | None,
    ) -> Finer:
        """From the words of a configuration. Raises UserError that lists every fault."""
        seen = views.model_dump(by_alias=True, exclude_unset=True) if isinstance(views, ViewsConfig) else views
        values = {
            "model": {"views": seen, "presence": True},
            "masks": {"refine": refine, "refine_radius": radius, "refine_epsilon": epsilon},
        }
        settings = _Settings.parse(values, source="finer masks")
        return cls(settings.model.views_of_images, GuidedFilter.of(settings.masks.refinement.get("refine")))

    def refuse(self, checkpoint: Checkpoint) -> None:
        """Raise UserError for a model that cannot see tiles."""
        if self.views is not None and checkpoint.preprocessing.size % checkpoint.config.vision_config.patch_size:
            raise UserError("model.views: this model's masks are smaller than its input; leave model.views out")

    @property
    def columns(self) -> tuple[str, ...]:
        """What a model must be able to fill for it."""
        return ("presence",) if self.views is not None and self.views.only == "present" else ()


class _Settings(Settings):
    model: ModelConfig
    masks: MasksConfig

    def faults(self) -> Iterator[str]:
        """See ``faults_of_finer``."""
        return faults_of_finer(self.model, self.masks)
