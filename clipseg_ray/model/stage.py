"""What becomes of logits, whatever model they are from: bits and sums, and the columns a dataset may have besides.

Queries that compete are decided by ``masks.verdict`` before: what comes here are their maps.

It is done where the logits are, so that no map of floats need cross to the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from clipseg_ray.masks import packing_kernel
from clipseg_ray.masks.heat import quantised
from clipseg_ray.masks.moving import heat_column
from clipseg_ray.masks.threshold import pack
from clipseg_ray.model.protocol import DeviceRows, Features, SegmentationModel, Stage


@dataclass(frozen=True, kw_only=True)
class Answered:
    """Maps of queries, logits [p, w, h], and the rows of the decoder they were made from.

    of_queries: values of those rows → one for each query; where each row is a query, they are the same.
    """

    model: SegmentationModel
    features: Features
    rows: DeviceRows
    logits_pwh: torch.Tensor
    of_queries: Callable[[torch.Tensor], torch.Tensor] = lambda values_p: values_p


@dataclass(frozen=True)
class Filler:
    """Fills an optional column. answers: (rows, the column's setting) → a tensor [p, …], on the device.

    column: that, brought to the host, as Arrow.
    """

    answers: Callable[[Answered, Any], torch.Tensor]
    column: Callable[[np.ndarray], pa.Array]


FILLERS = {
    "presence": Filler(lambda found, _: found.of_queries(found.model.presence(found.features, found.rows)), pa.array),
    "heat": Filler(lambda found, side: quantised(found.logits_pwh, side), heat_column),
}
"""Who fills each of ``results.optional_columns``."""


PROBABILITIES = "probabilities"
"""Besides those: maps at the grid's size, upright, [p, h, w]. Setting: float32, or uint8 with 255 for 1 as heat."""


def _probabilities(found: Answered, kind: str) -> torch.Tensor:
    logits_pwh = found.logits_pwh
    if kind == "uint8":
        return quantised(logits_pwh, logits_pwh.shape[2])
    return logits_pwh.float().sigmoid().transpose(1, 2).contiguous()


def packing(device: torch.device) -> Stage:
    """(logits [p, w, h], threshold as a logit [p]) → ``masks.threshold.Packed``, as is best on the device."""
    return packing_kernel.choose(device) if device.type == "cuda" else pack


def fill(found: Answered, settings: Mapping[str, Any]) -> list[torch.Tensor]:
    """The optional columns of ``settings`` (their settings by name), and ``PROBABILITIES``, in that order."""
    answers = {name: filler.answers for name, filler in FILLERS.items()} | {PROBABILITIES: _probabilities}
    return [answers[name](found, setting) for name, setting in settings.items()]
