"""Label Studio's brush: what its decoder, @thi.ng/rle-pack's, reads back is the mask."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg_ray.masks import brush
from tests.rle_pack import decoded


@given(st.data())
def test_the_decoder_gives_the_mask_back(data) -> None:
    height, width = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    runs = data.draw(st.lists(st.integers(1, 700), max_size=40))
    flat_p = np.zeros(height * width, bool)
    for start in np.cumsum(runs)[::2]:
        flat_p[start : start + 9] = True
    mask_hw = flat_p.reshape(height, width) ^ data.draw(st.booleans())
    np.testing.assert_array_equal(decoded(brush.encode(mask_hw), height, width), mask_hw)


@pytest.mark.parametrize("fill", [False, True])
def test_runs_longer_than_a_length_can_say_go_on(fill: bool) -> None:
    mask_hw = np.full((301, 407), fill)
    mask_hw[150, 7] = not fill
    np.testing.assert_array_equal(decoded(brush.encode(mask_hw), 301, 407), mask_hw)


def test_a_mask_without_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="0 pixels"):
        brush.encode(np.zeros((0, 5), bool))
