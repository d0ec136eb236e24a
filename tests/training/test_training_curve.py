"""The learning curve's axes: round ticks that hold what is drawn."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clipseg_ray.training.curve import draw_curve, loss_ticks, step_ticks


def is_round(value: float) -> bool:
    return f"{value:.6e}"[0] in "125" and set(f"{value:.6e}"[2:8]) == {"0"}


@given(st.integers(1, 10**7))
def test_steps_are_round_even_and_few(last: int) -> None:
    ticks = step_ticks(last)
    assert ticks[0] == 0
    assert ticks[-1] <= last
    apart = set(np.diff(ticks).tolist())
    assert len(apart) <= 1
    assert all(map(is_round, apart))
    assert len(ticks) <= 9
    assert last < 4 or len(ticks) >= 4


@given(st.floats(1e-9, 1e6), st.floats(1, 1e6))
def test_losses_lie_between_the_first_tick_and_the_last(low: float, times: float) -> None:
    ticks = loss_ticks(low, low * times)
    assert ticks[0] <= low <= low * times < ticks[-1]
    assert all(map(is_round, ticks))
    assert ticks == sorted(set(ticks))


@pytest.mark.parametrize("count", [0, 1, 3, 700])
def test_a_curve_of_any_length_is_drawn(count: int) -> None:
    records = [{"step": step, "bce": math.exp(-step / 200)} for step in range(1, count + 1)]
    if count == 3:
        records[-1] |= {"bce": 0.0, "validation": {"object": {"iou_fg": 0.7}, "part": {"iou_fg": None}}}
    drawn = np.asarray(Image.open(io.BytesIO(draw_curve(records))).convert("RGB"))
    assert drawn.shape == (420, 900, 3)
    coloured = (drawn.max(2).astype(int) - drawn.min(2) > 90).any()
    assert coloured == (count == 3), "only what validation measured has a colour"
