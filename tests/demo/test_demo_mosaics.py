"""Mosaics: several scenes in one image, each where it should be, with a truth of the whole."""

import numpy as np
import pytest

from clipseg_ray.demo.mosaics import mosaic
from clipseg_ray.demo.scenes import scene

ACROSS, CELL = 3, 96


@pytest.fixture(scope="module")
def shown():
    return mosaic(5, across=ACROSS, side=ACROSS * CELL)


@pytest.fixture(scope="module")
def cells():
    """[row][column]: the scene, and where it stands."""
    places = [(place // ACROSS * CELL, place % ACROSS * CELL) for place in range(ACROSS**2)]
    return [
        (scene(5 * ACROSS**2 + place, CELL), np.s_[top : top + CELL, left : left + CELL])
        for place, (top, left) in enumerate(places)
    ]


def test_every_scene_stands_in_its_place(shown, cells):
    assert shown.pixels_hwc.shape == (ACROSS * CELL, ACROSS * CELL, 3)
    for one, where in cells:
        difference = np.abs(shown.pixels_hwc[where].astype(int) - one.pixels_hwc)
        assert difference.mean() < 6  # the mosaic went through a JPEG of its own
    assert len(shown.instances) == sum(len(one.instances) for one, _ in cells)


def test_truth_is_that_of_all_scenes(shown, cells):
    found = {truth.query_id: truth.mask_hw for truth in shown.truth}
    for query_id in {truth.query_id for one, _ in cells for truth in one.truth}:
        for one, where in cells:
            own = {truth.query_id: truth.mask_hw for truth in one.truth}.get(query_id)
            if own is not None:  # a scene leaves out what shows hardly a pixel, the whole may not
                np.testing.assert_array_equal(found[query_id][where], own)


def test_the_seed_decides_and_no_scene_is_in_two():
    assert np.array_equal(mosaic(2, across=2, side=128).pixels_hwc, mosaic(2, across=2, side=128).pixels_hwc)
    one, next_ = (mosaic(seed, across=2, side=128) for seed in (2, 3))
    assert not np.array_equal(one.pixels_hwc, next_.pixels_hwc)
    with pytest.raises(ValueError, match="cannot be shared by 3"):
        mosaic(0, across=3, side=100)
