import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from clipseg_ray.errors import UserError
from clipseg_ray.masks import algebra
from clipseg_ray.masks.rle import decode


def coco_of(mask: np.ndarray) -> dict:
    return coco.encode(np.asfortranarray(mask, dtype=np.uint8))


def counts_of(masks) -> pa.Array:
    return pa.array([coco_of(mask)["counts"].decode() for mask in masks])


def column(value, rows: int) -> pa.Array:
    return pa.array([value] * rows)


@st.composite
def mask_stacks(draw, masks: int):
    """bool [masks, h, w]: noise of any density, blocks, stripes, nothing and everything."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    stack = rng.random((masks, height, width)) < draw(st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]))
    for mask in stack:
        kind = draw(st.sampled_from(["noise", "block", "stripes", "all", "none"]))
        if kind == "block":
            top, left = rng.integers(0, height), rng.integers(0, width)
            mask[:] = False
            mask[top : top + rng.integers(1, height + 1), left : left + rng.integers(1, width + 1)] = True
        elif kind == "stripes":
            mask[:] = (np.arange(width) % draw(st.integers(1, 5))) == 0
        elif kind != "noise":
            mask[:] = kind == "all"
    return stack


@settings(max_examples=60, deadline=None)
@given(mask_stacks(6))
def test_pairs_equal_pycocotools(stack):
    first, second = stack[:3], stack[3:]
    a, b = counts_of(first), counts_of(second)
    pairs = [(coco_of(x), coco_of(y)) for x, y in zip(first, second, strict=True)]
    assert algebra.union(a, b).to_pylist() == [coco.merge([*pair])["counts"].decode() for pair in pairs]
    merged = [coco.merge([*pair], intersect=True) for pair in pairs]
    assert algebra.intersection(a, b).to_pylist() == [each["counts"].decode() for each in merged]
    assert algebra.overlap(a, b).to_pylist() == [int(coco.area(each)) for each in merged]
    assert algebra.iou(a, b).to_pylist() == [coco.iou([x], [y], [0])[0, 0] for x, y in pairs]
    assert algebra.difference(a, b).equals(counts_of(first & ~second))
    assert algebra.xor(a, b).equals(counts_of(first ^ second))
    assert algebra.complement(a).equals(counts_of(~first))


@settings(max_examples=60, deadline=None)
@given(mask_stacks(4))
def test_measures_equal_those_of_the_drawn_mask(stack):
    height, width = stack.shape[1:]
    counts, heights = counts_of(stack), column(height, 4)
    assert algebra.area(counts).to_pylist() == [int(mask.sum()) for mask in stack]
    boxes = [list(box.values()) for box in algebra.bbox(counts, heights).to_pylist()]
    assert boxes == [coco.toBbox(coco_of(mask)).tolist() for mask in stack]
    for mask, found in zip(stack, algebra.centroid(counts, heights).to_pylist(), strict=True):
        if mask.any():
            y, x = np.nonzero(mask)
            assert (found["x"], found["y"]) == pytest.approx((x.mean(), y.mean()))
        else:
            assert found is None
    drawn = algebra.pixels(counts, heights, column(width, 4)).to_pylist()
    assert [np.frombuffer(pixels, np.bool_).tolist() for pixels in drawn] == [mask.ravel().tolist() for mask in stack]


@settings(max_examples=60, deadline=None)
@given(mask_stacks(2), st.integers(-3, 45), st.integers(-3, 45), st.integers(0, 50), st.integers(0, 50))
def test_box_coverage(stack, x, y, w, h):
    height = stack.shape[1]
    box = np.s_[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)]
    found = algebra.box_coverage(counts_of(stack), column(height, 2), *(column(side, 2) for side in (x, y, w, h)))
    expected = [float(mask[box].mean()) if mask[box].size else None for mask in stack]
    assert found.to_pylist() == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(mask_stacks(3), st.integers(-45, 45), st.integers(-45, 45), st.integers(1, 50), st.integers(1, 50))
def test_crop_is_of_the_boxs_size_and_empty_beyond_the_grid(stack, x, y, w, h):
    wide = np.pad(stack, ((0, 0), (50, 100), (50, 100)))
    expected = wide[:, 50 + y : 50 + y + h, 50 + x : 50 + x + w]
    box = [column(side, 3) for side in (x, y, w, h)]
    assert algebra.crop(counts_of(stack), column(stack.shape[1], 3), *box).equals(counts_of(expected))


@settings(max_examples=60, deadline=None)
@given(mask_stacks(2), st.integers(1, 70), st.integers(1, 70))
def test_resize_takes_the_pixel_in_which_the_centre_lies(stack, new_height, new_width):
    height, width = stack.shape[1:]
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new) for old, new in ((height, new_height), (width, new_width))
    )
    expected = stack[:, rows][:, :, columns]
    sides = [column(side, 2) for side in (height, width, new_height, new_width)]
    found = algebra.resize(counts_of(stack), *sides)
    assert (decode(found, new_height, new_width) == expected).all()
    assert found.equals(counts_of(expected))


@settings(max_examples=40, deadline=None)
@given(mask_stacks(5), st.lists(st.lists(st.integers(0, 4), max_size=4), min_size=1, max_size=4))
def test_union_of_lists(stack, groups):
    counts = counts_of(stack).to_pylist()
    lists = [[counts[index] for index in group] for group in groups]
    expected = [counts_of([stack[group].any(0)])[0].as_py() if group else None for group in groups]
    kind = pa.list_(pa.string())
    assert algebra.union_all(pa.array(lists, kind)).to_pylist() == expected
    with_nulls = pa.array([[None, *each] for each in lists] + [None], kind)
    assert algebra.union_all(with_nulls).to_pylist() == [*expected, None]
    assert algebra.union_all(pa.array([["broken \\"], *lists], kind).slice(1)).to_pylist() == expected


@settings(max_examples=40, deadline=None)
@given(arrays(np.int32, st.integers(1, 12), elements=st.integers(0, 9)))
def test_runs_of_no_length_are_no_edges(runs):
    runs[-1] += not runs.sum()
    pixels = np.repeat(np.arange(len(runs)) % 2, runs)
    counts = coco.frPyObjects({"size": [int(runs.sum()), 1], "counts": runs.tolist()}, int(runs.sum()), 1)["counts"]
    column = pa.array([counts.decode()])
    assert algebra.area(column).to_pylist() == [int(pixels.sum())]
    assert algebra.union(column, column).equals(counts_of([pixels[:, None]]))


def test_nulls_and_slices():
    masks = np.zeros((4, 5, 3), np.bool_)
    masks[1, 2], masks[2, :, 1] = True, True
    counts = pa.chunked_array([counts_of(masks[:2]), pa.array([None], pa.string()), counts_of(masks[2:])]).slice(1)
    other = pa.array([None, *counts_of(masks)[1:].to_pylist()])
    assert algebra.area(counts).to_pylist() == [3, None, 5, 0]
    assert algebra.iou(counts, other).to_pylist() == [None, None, 1.0, 0.0]
    assert algebra.union(counts, other).null_count == 2
    assert algebra.complement(counts).null_count == 1
    heights = pa.array([5, 5, None, 5])
    assert algebra.centroid(counts, heights).to_pylist() == [{"x": 1.0, "y": 2.0}, None, None, None]
    assert algebra.pixels(counts, heights, pa.array([3] * 4)).null_count == 2
    empty = pa.array([], pa.string())
    assert len(algebra.iou(empty, empty)) == len(algebra.bbox(empty, pa.array([], pa.int32()))) == 0


def test_faults_are_named():
    counts = counts_of(np.ones((2, 5, 3), np.bool_))
    with pytest.raises(UserError, match="row 0: masks of 15 and 16 pixels"):
        algebra.iou(counts, counts_of(np.ones((2, 4, 4))))
    with pytest.raises(UserError, match="no height of 4"):
        algebra.bbox(counts, pa.array([5, 4]))
    with pytest.raises(UserError, match="row 1: a mask of 15 pixels is not 5×4"):
        algebra.resize(counts, pa.array([5, 5]), pa.array([3, 4]), pa.array([9, 9]), pa.array([9, 9]))
    with pytest.raises(UserError, match="mask of 0×2 pixels: sides must be at least 1"):
        algebra.crop(counts, *(pa.array([side, side]) for side in (5, 0, 0, 2, 0)))
    for broken in ("", "hello", "o", "0\\", "é0"):
        with pytest.raises(UserError, match="no COCO run-length encoding"):
            algebra.area(pa.array(["03", broken]))
