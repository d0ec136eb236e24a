"""A plan, and where it is asked for what samples of it say about the rest. Ray is loaded only for those."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clipseg_ray.cluster.connection import expect_lost_nodes, guard_a_local_cluster
from clipseg_ray.config import RunConfig
from clipseg_ray.pipeline import plan as planning
from clipseg_ray.pipeline.plan import Plan

if TYPE_CHECKING:
    from clipseg_ray.forecast.measurement import Measurement
    from clipseg_ray.forecast.prediction import Prediction


@dataclass(frozen=True)
class Measured:
    """What was measured and what it predicts."""

    measurement: Measurement
    prediction: Prediction

    def text(self) -> str:
        """Lines for a person."""
        from clipseg_ray.forecast.prediction_text import prediction_text

        return prediction_text(self.measurement, self.prediction)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"measured": self.measurement.to_json(), "predicted": self.prediction.to_json()}


def plan_of(config: RunConfig, measure: bool, say: Callable[[str], None]) -> tuple[Plan, Measured | None]:
    """The plan of a run, measured if that is wanted and anything is left to do; ``say`` hears how far that is."""
    if not measure:
        return planning.look(config), None
    began = time.perf_counter() - time.process_time()  # with what was imported so far
    guard_a_local_cluster()
    expect_lost_nodes()
    from clipseg_ray.forecast.prediction import predict
    from clipseg_ray.forecast.rehearsal import rehearse

    plan, found = rehearse(config, began, say)
    return plan, None if found is None else Measured(found, predict(config, plan.work, found, plan.present is None))
