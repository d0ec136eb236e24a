"""What the features of images take that are kept."""

from __future__ import annotations

from typing import Any

from clipseg_ray.model.viewing import ViewedFeatures
from clipseg_ray.pixels.views import Views


def nbytes_of(features: Any, views: Views | None) -> int:
    """Of what ``Engine.encode`` gives, with those of windows that may be encoded yet."""
    if isinstance(features, ViewedFeatures):
        of_one = nbytes_of(features.whole, None) // len(features)
        passes = [1 if views is None else views.passes(tiles)[0] for tiles in features.tiles_b.tolist()]
        return of_one * sum(passes) + features.images.nbytes
    tensors = [value for value in vars(features).values() if value is not None]
    return int(sum(tensor.numel() * tensor.element_size() for tensor in tensors))
