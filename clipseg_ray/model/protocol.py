"""What a segmentation model is to everything else: images and queries in, logits per (image, query) row out.

A model ends at logits. What becomes of them is the same for every model and stands in ``stage``; ``engine`` cuts the
work into pieces and brings it to the device and back. ``factory`` makes the model of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch

from clipseg_ray.errors import UserError
from clipseg_ray.model.headroom import Headroom

Array = np.ndarray | torch.Tensor

Prompts: TypeAlias = Any
"""Queries as their model keeps them, for its own eyes; ``len`` counts them."""
Features: TypeAlias = Any
"""Images as their model keeps them, for its own eyes, never a bare tensor.

``len`` counts the images, a slice or an int64 tensor as index chooses among them.
"""


@dataclass(frozen=True)
class DeviceRows:
    """(image, query) rows as a model is asked for them: at most ``headroom.decode_chunk``, on its device.

    prompts: what its ``embed`` gave. image_index_p, query_index_p: int64 [p], into the features and prompts at hand.
    """

    prompts: Prompts
    image_index_p: torch.Tensor
    query_index_p: torch.Tensor


Stage: TypeAlias = Callable[..., tuple[torch.Tensor, ...]]
"""(logits [p, w, h], further tensors [p]) → tensors [p, …]. Never waits for the device, so it can be captured."""
StagedRows: TypeAlias = Callable[..., tuple[torch.Tensor, ...]]
"""(features, rows, the stage's further tensors) → (logits [p, w, h], what the stage gives), valid until the next."""


class SegmentationModel(Protocol):
    """One model on one device. A model names this class as its base and has ``staged`` and ``presence`` from it.

    headroom: the device, and how many images and rows the model takes at a time. grid: (height, width) of the logits.
    """

    headroom: Headroom
    grid: tuple[int, int]

    def embed(self, conditionals_qc: Array) -> Prompts:
        """Queries from their conditionals, float32 [q, c], as ``logits`` wants them; done once for a prompt set."""

    def encode(self, pixels_bhwc: torch.Tensor) -> Features:
        """All that any query needs of at most ``headroom.batch`` images, uint8 [b, S, S, 3] on the device.

        Valid for good. Raises ValueError for pixels of another size or type.
        """

    def logits(self, features: Features, rows: DeviceRows) -> torch.Tensor:
        """Logits of the rows: floats [p, w, h], transposed, on the device; valid until the next call.

        Transposed, so that flattening a row of them walks down the columns as COCO's run lengths do.
        """

    def joined(self, parts: Sequence[Features]) -> Features:
        """Features of several calls of ``encode`` as if they came of one."""

    def staged(self, stage: Stage) -> StagedRows:
        """``logits`` and the stage behind it, for a model that can capture or compile the two as one."""

        def run(features: Features, rows: DeviceRows, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
            logits_pwh = self.logits(features, rows)
            return (logits_pwh, *stage(logits_pwh, *given))

        return run

    def presence(self, features: Features, rows: DeviceRows) -> torch.Tensor:
        """How near the whole image and the query of each row are, float32 [p]: the column of that name."""
        raise UserError("model.presence: this model cannot estimate it; set it to false")
