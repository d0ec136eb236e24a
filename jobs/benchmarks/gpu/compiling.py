"""What ``torch.compile`` costs at the start, and what it gives from then on."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.gpu import models
from benchmarks.gpu.answers import Answers
from benchmarks.gpu.part import Finding, Setting
from benchmarks.gpu.stopwatch import seconds
from clipseg_ray.model.precision import resolve_precision

_FLIPS = {"fp32": 1e-4, "bf16": 5e-3}


def compare(setting: Setting) -> Finding:
    """Off, then on: the time to the first masks, then the time of the same masks again."""
    precision, _ = resolve_precision("auto", setting.device)
    found = {switch: _timed(setting, precision, switch == "on") for switch in ("off", "on")}
    off, on = found["off"], found["on"]
    differ = on.pop("answers").differing(off.pop("answers"))
    saved_s = off["image_s"] - on["image_s"]
    repaid = round((on["first_s"] - off["first_s"]) / saved_s) if saved_s > 0 else None
    summary = (
        f"{precision}: {off['image_s'] / on['image_s']:.2f}× as fast on as off, first masks after "
        f"{on['first_s']:.1f} s instead of {off['first_s']:.1f} s, "
        + ("never repaid" if repaid is None else f"repaid after {repaid} images")
        + f"; {differ:.1e} of pixels differ"
    )
    values = {"precision": precision, **found, "pixels_differ": differ, "repaid_after_images": repaid}
    return Finding(summary, values, differ <= _FLIPS[precision])


def _timed(setting: Setting, precision: str, compile: bool) -> dict[str, Any]:
    started = time.perf_counter()
    engine = models.engine(setting, precision, compile=compile)
    pixels_bhwc = models.pixels(setting, (1 if setting.small else 4) * engine.batch)
    conditionals_qc = models.conditionals(setting, 4 if setting.small else 32)
    answers = Answers.of(engine, pixels_bhwc, conditionals_qc)
    first_s = time.perf_counter() - started
    again_s = seconds(lambda: Answers.of(engine, pixels_bhwc, conditionals_qc), setting.device, warm=False)
    return {"first_s": first_s, "image_s": again_s / len(pixels_bhwc), "answers": answers}
