"""Parts and holes against scipy.ndimage."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from clipseg_ray.errors import UserError
from clipseg_ray.masks import regions
from tests.masks.stacks import column, counts_of, stacks


def labelled(mask: np.ndarray, min_area: int, connectivity: int) -> list[dict]:
    """What scipy finds, the largest first, then by the first pixel column by column."""
    labels_wh, _ = ndimage.label(mask.T, np.ones((3, 3)) if connectivity == 8 else None)
    areas = np.bincount(labels_wh.ravel())
    areas[0] = 0
    found = []
    for label in sorted(np.flatnonzero(areas >= max(min_area, 1)), key=lambda label: (-areas[label], label)):
        x, y = np.nonzero(labels_wh == label)
        box = {"x": x.min(), "y": y.min(), "w": np.ptp(x) + 1, "h": np.ptp(y) + 1}
        counts = counts_of([(labels_wh == label).T])[0].as_py()
        found.append({"counts": counts, "area": areas[label], "bbox": box})
    return found


@settings(max_examples=80, deadline=None)
@given(stacks(4), st.sampled_from([0, 1, 2, 30]), st.sampled_from([4, 8]))
def test_components_equal_scipys_labels(stack, min_area, connectivity):
    found = regions.components(counts_of(stack), column(stack.shape[1], 4), column(min_area, 4), connectivity)
    assert found.to_pylist() == [labelled(mask, min_area, connectivity) for mask in stack]


@settings(max_examples=80, deadline=None)
@given(stacks(4))
def test_filled_holes_equal_scipys(stack):
    filled = regions.fill_holes(counts_of(stack), column(stack.shape[1], 4))
    assert filled.equals(counts_of([ndimage.binary_fill_holes(mask) for mask in stack]))


def test_a_corner_joins_eight_neighbours_and_not_four():
    counts, height, least = counts_of([np.eye(3, dtype=bool)]), column(3, 1), column(1, 1)
    assert [len(parts) for parts in regions.components(counts, height, least).to_pylist()] == [1]
    assert [len(parts) for parts in regions.components_4(counts, height, least).to_pylist()] == [3]
    with pytest.raises(ValueError, match="connectivity 6: must be 4 or 8"):
        regions.components(counts, height, least, 6)


def test_nulls_slices_and_more_masks_than_are_taken_apart_at_once():
    masks = np.zeros((3, 4, 5), np.bool_)
    masks[1, 1:3, 1:3], masks[2, :, 0], masks[2, 0, 3] = True, True, True
    counts = pa.chunked_array([counts_of(masks[:1]), pa.array([None], pa.string()), counts_of(masks[1:])]).slice(1)
    found = regions.components(counts, column(4, 3), pa.array([1, None, 2])).to_pylist()
    assert found == [None, None, labelled(masks[2], 2, 8)]
    many = counts_of(masks).take(pa.array(np.arange(10_000) % 3))
    found = regions.components(many, column(4, 10_000), column(1, 10_000)).to_pylist()
    areas = [[part["area"] for part in row] for row in found]
    assert areas == [[[], [4], [4, 1]][row % 3] for row in range(10_000)]
    assert regions.fill_holes(many, column(4, 10_000)).equals(many)
    none = pa.array([], pa.string())
    assert len(regions.components(none, pa.array([], pa.int32()), pa.array([], pa.int32()))) == 0
    assert regions.fill_holes(none, pa.array([], pa.int32())).equals(none)
    with pytest.raises(UserError, match="row 1: a mask of 20 pixels has no height of 3"):
        regions.components(counts_of(masks), pa.array([4, 3, 4]), column(1, 3))
