"""Distances, and what grows and shrinks by them, against scipy.ndimage."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from clipseg_ray.errors import UserError
from clipseg_ray.masks import morphology
from tests.masks.stacks import column, counts_of, stacks

RADII = st.sampled_from([0, 0.9, 1, 1.5, 2, math.sqrt(5), 7.3, 30, 1000, math.inf])


def near(mask: np.ndarray, radius: float) -> np.ndarray:
    """Pixels no farther than ``radius`` from the mask; of an empty one there are none."""
    return ndimage.distance_transform_edt(~mask) <= radius if mask.any() else mask


def shrunk(mask: np.ndarray, radius: float) -> np.ndarray:
    return ~near(~mask, radius)


@settings(max_examples=80, deadline=None)
@given(stacks(3), RADII)
def test_grown_and_shrunk_masks_equal_distances(stack, radius):
    arguments = counts_of(stack), column(stack.shape[1], 3), column(radius, 3)
    assert morphology.dilate(*arguments).equals(counts_of([near(mask, radius) for mask in stack]))
    assert morphology.erode(*arguments).equals(counts_of([shrunk(mask, radius) for mask in stack]))
    assert morphology.boundary(*arguments).equals(counts_of([mask & ~shrunk(mask, radius) for mask in stack]))


@settings(max_examples=25, deadline=None)
@given(stacks(3, 60), RADII)
def test_opened_and_closed_masks_equal_both_steps(stack, radius):
    arguments = counts_of(stack), column(stack.shape[1], 3), column(radius, 3)
    assert morphology.opening(*arguments).equals(counts_of([near(shrunk(mask, radius), radius) for mask in stack]))
    assert morphology.closing(*arguments).equals(counts_of([shrunk(near(mask, radius), radius) for mask in stack]))


def test_a_radius_of_1_is_scipys_cross_and_of_one_and_a_half_its_square():
    mask = np.random.default_rng(0).random((30, 41)) < 0.5
    counts, height = counts_of([mask]), column(30, 1)
    for radius, structure in ((1, None), (1.5, np.ones((3, 3)))):
        dilated = ndimage.binary_dilation(mask, structure)
        assert morphology.dilate(counts, height, column(radius, 1)).equals(counts_of([dilated]))
        eroded = ndimage.binary_erosion(mask, structure, border_value=1)  # what lies beyond the grid takes nothing away
        assert morphology.erode(counts, height, column(radius, 1)).equals(counts_of([eroded]))


@settings(max_examples=80, deadline=None)
@given(stacks(4))
def test_distances_between_masks(stack):
    first, second = stack[:2], stack[2:] & ~stack[:2]
    expected = [
        float(ndimage.distance_transform_edt(~b)[a].min()) if a.any() and b.any() else None
        for a, b in zip(first, second, strict=True)
    ]
    height = column(stack.shape[1], 2)
    assert morphology.distance(counts_of(first), counts_of(second), height).to_pylist() == pytest.approx(expected)
    touching = morphology.distance(counts_of(first), counts_of(first), height).to_pylist()
    assert touching == [0.0 if mask.any() else None for mask in first]


@settings(max_examples=25, deadline=None)
@given(stacks(4, 80), st.sampled_from([1, 2.5, 10]))
def test_iou_of_borders(stack, distance):
    borders = [mask & ~shrunk(mask, distance) for mask in stack]
    expected = [
        float((a & b).sum() / (a | b).sum()) if (a | b).any() else None
        for a, b in zip(borders[:2], borders[2:], strict=True)
    ]
    counts = counts_of(stack)
    found = morphology.border_iou(counts[:2], counts[2:], column(stack.shape[1], 2), column(distance, 2))
    assert found.to_pylist() == pytest.approx(expected)


def test_nulls_and_faults():
    counts = pa.array([*counts_of(np.ones((2, 5, 3), np.bool_)).to_pylist(), None])
    height = pa.array([5, None, 5])
    assert morphology.dilate(counts, height, column(1.0, 3)).null_count == 2
    assert morphology.border_iou(counts, counts, height, column(1, 3)).null_count == 3  # full: there is no border
    assert morphology.distance(counts, counts, height).to_pylist() == [0.0, None, None]
    none = pa.array([], pa.string())
    assert len(morphology.closing(none, pa.array([], pa.int64()), pa.array([], pa.float64()))) == 0
    for radius in (-1.0, math.nan):
        with pytest.raises(UserError, match=r"row 1: a distance of (-1|nan) pixels; it must be 0 or more"):
            morphology.erode(counts[:2], column(5, 2), pa.array([1.0, radius]))
    with pytest.raises(UserError, match="row 0: masks of 15 and 16 pixels; resize one"):
        morphology.distance(counts[:1], counts_of(np.ones((1, 4, 4))), column(5, 1))
