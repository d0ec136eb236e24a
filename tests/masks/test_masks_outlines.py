"""Outlines against shapely, and back to masks by pycocotools."""

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from scipy import ndimage

from clipseg_ray.errors import UserError
from clipseg_ray.masks import outlines
from tests.masks.stacks import column, counts_of, stacks


def polygons_of(stack, tolerance: float) -> list[list[list[float]]]:
    rows = len(stack)
    return outlines.polygons(counts_of(stack), column(stack.shape[1], rows), column(tolerance, rows)).to_pylist()


def shapes_of(stack, tolerance: float) -> list[shapely.MultiPolygon]:
    rows = len(stack)
    texts = outlines.wkt(counts_of(stack), column(stack.shape[1], rows), column(tolerance, rows))
    return [shapely.from_wkt(text) for text in texts.to_pylist()]


@settings(max_examples=80, deadline=None)
@given(stacks(4))
def test_filled_polygons_are_the_mask_again(stack):
    height, width = stack.shape[1:]
    for mask, polygons in zip(stack, polygons_of(stack, 0), strict=True):
        assert len(polygons) == ndimage.label(mask)[1]
        if polygons:
            filled = coco.merge(coco.frPyObjects(polygons, height, width))
            assert filled["counts"].decode() == counts_of([mask])[0].as_py()


@settings(max_examples=80, deadline=None)
@given(stacks(4, 120))
def test_well_known_text_is_the_mask_as_a_valid_shape(stack):
    y, x = np.mgrid[: stack.shape[1], : stack.shape[2]]
    for mask, shape in zip(stack, shapes_of(stack, 0), strict=True):
        assert shape.geom_type == "MultiPolygon"
        assert shape.is_valid
        assert shape.area == mask.sum()
        assert (shapely.contains_xy(shape, x + 0.5, y + 0.5) == mask).all()
        assert all(part.exterior.is_ccw and not any(hole.is_ccw for hole in part.interiors) for part in shape.geoms)


@settings(max_examples=80, deadline=None)
@given(stacks(3, 120), st.sampled_from([0.5, 1, 2.5, 20]))
def test_simplified_outlines_stay_valid_and_near(stack, tolerance):
    exact, simpler, lists = shapes_of(stack, 0), shapes_of(stack, tolerance), polygons_of(stack, tolerance)
    for before, after, polygons in zip(exact, simpler, lists, strict=True):
        assert after.is_valid
        assert [len(part.interiors) for part in after.geoms] == [len(part.interiors) for part in before.geoms]
        if before.is_empty:
            continue
        assert shapely.hausdorff_distance(before.boundary, after.boundary) <= tolerance + 1e-9
        assert shapely.get_num_coordinates(after) <= shapely.get_num_coordinates(before)
        # Slits take nothing away and add nothing.
        areas = [shapely.Polygon(np.reshape(polygon, (-1, 2))).area for polygon in polygons]
        assert areas == pytest.approx([part.area for part in after.geoms])


def test_a_disc_needs_few_corners():
    y, x = np.mgrid[:120, :120]
    disc = ((y - 60) ** 2 + (x - 60) ** 2 < 50**2)[None]
    (exact,), (simpler,) = shapes_of(disc, 0), shapes_of(disc, 1.5)
    assert shapely.get_num_coordinates(exact) > 200
    assert shapely.get_num_coordinates(simpler) <= 20
    assert abs(simpler.area - exact.area) < 0.01 * exact.area


def test_how_they_are_written():
    mask = np.ones((1, 3, 4), np.bool_)
    mask[0, 1, 1] = False
    (ring,) = polygons_of(mask, 0)[0]
    assert ring == [4, 0, 4, 3, 0, 3, 0, 0, 1, 0, 1, 1, 1, 2, 2, 2, 2, 1, 1, 1, 1, 0]
    counts, height = counts_of(mask), column(3, 1)
    text = outlines.wkt(counts, height, column(0, 1))[0].as_py()
    assert text == "MULTIPOLYGON (((4 0, 4 3, 0 3, 0 0, 4 0), (2 2, 2 1, 1 1, 1 2, 2 2)))"
    assert outlines.wkt(counts_of(mask & False), height, column(0, 1)).to_pylist() == ["MULTIPOLYGON EMPTY"]


def test_nulls_and_faults():
    counts = pa.array([*counts_of(np.ones((2, 5, 3), np.bool_)).to_pylist(), None])
    height, tolerance = pa.array([5, None, 5]), column(0.0, 3)
    assert [shape is None for shape in outlines.polygons(counts, height, tolerance).to_pylist()] == [False, True, True]
    assert outlines.wkt(counts, height, tolerance).null_count == 2
    none = pa.array([], pa.string()), pa.array([], pa.int64()), pa.array([], pa.float64())
    assert len(outlines.polygons(*none)) == len(outlines.wkt(*none)) == 0
    with pytest.raises(UserError, match="row 0: a distance of -1 pixels"):
        outlines.wkt(counts[:1], height[:1], column(-1.0, 1))
