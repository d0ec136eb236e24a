"""One byte a pixel: the mask at each position of the slider is the one that comparing probabilities gives."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clipseg_ray.workbench.levels import borders_with, levels_of, packed

CHANCES = st.one_of(st.floats(0, 1, width=32), st.integers(0, 200).map(lambda step: float(np.float32(step / 200))))


@given(arrays(np.float32, (3, 7), elements=CHANCES), st.lists(st.floats(0.001, 0.999), max_size=3))
def test_every_mask_of_the_slider_is_in_the_levels(probability_hw: np.ndarray, own: list[float]) -> None:
    borders = borders_with(own)
    assert {*own, 0.005, 0.5, 0.995} <= {*borders}
    levels_hw = levels_of(probability_hw, borders)
    for place, border in enumerate(borders):
        np.testing.assert_array_equal(levels_hw > place, probability_hw > np.float32(border))


def test_they_are_sent_row_by_row() -> None:
    levels_hw = np.arange(12, dtype=np.uint8).reshape(4, 3).T
    assert zlib.decompress(packed(levels_hw)) == bytes([0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11])


def test_no_more_than_a_byte_holds() -> None:
    with pytest.raises(ValueError, match="thresholds do not fit a byte"):
        borders_with([place / 1000 + 0.0001 for place in range(1, 100)])
