import numpy as np
import pyarrow as pa
import pycocotools.mask as coco
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clipseg_ray.errors import UserError
from clipseg_ray.masks.rle import Rles, area_of_bits, concatenate, decode, encode_bits


def bits_of(masks_phw: np.ndarray) -> np.ndarray:
    return np.packbits(masks_phw.transpose(0, 2, 1).reshape(len(masks_phw), -1), axis=1, bitorder="little")


def assert_as_coco(rles: Rles, masks_phw: np.ndarray) -> None:
    expected = [coco.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks_phw]
    assert rles.counts.to_pylist() == [rle["counts"].decode() for rle in expected]
    assert rles.area.tolist() == [int(coco.area(rle)) for rle in expected]
    assert rles.bbox.tolist() == [coco.toBbox(rle).tolist() for rle in expected]
    assert (rles.counts.type, rles.area.dtype, rles.bbox.dtype) == (pa.string(), np.int64, np.int32)


def masks_of_runs(runs: list[int], height: int) -> np.ndarray:
    """One mask whose column-major pixels are these runs, beginning with background, the last column filled up."""
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    flat = np.pad(flat, (0, -len(flat) % height))
    return flat.reshape(1, -1, height).transpose(0, 2, 1)


sizes = st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40))
# runs whose values and differences lie around the ends of one, two, three and four characters
run_lengths = st.one_of(
    st.integers(1, 70),
    st.builds(lambda power, off: 2**power + off, st.sampled_from([4, 5, 9, 10, 14, 15]), st.integers(-2, 2)),
)


@given(sizes.flatmap(lambda shape: hnp.arrays(np.bool_, shape)))
@settings(max_examples=300, deadline=None)
def test_any_mask_is_as_pycocotools_and_decodes_to_itself(masks):
    rles = encode_bits(bits_of(masks), *masks.shape[1:])
    assert_as_coco(rles, masks)
    np.testing.assert_array_equal(decode(rles.counts, *masks.shape[1:]), masks)


@given(st.lists(run_lengths, min_size=1, max_size=30), st.integers(1, 400))
@settings(max_examples=300, deadline=None)
def test_any_runs_are_as_pycocotools_and_decode_to_themselves(runs, height):
    masks = masks_of_runs(runs, height)
    rles = encode_bits(bits_of(masks), *masks.shape[1:])
    assert_as_coco(rles, masks)
    np.testing.assert_array_equal(decode(rles.counts, *masks.shape[1:]), masks)


@pytest.mark.parametrize("size", [(1, 1), (1, 64), (64, 1), (8, 8), (7, 9), (352, 352), (2000, 1200)])
def test_empty_full_and_checkered(size):
    checkered = np.add.outer(np.arange(size[0]), np.arange(size[1])) % 2 == 0
    masks = np.stack([np.zeros(size, bool), np.ones(size, bool), checkered, ~checkered, np.zeros(size, bool)])
    assert_as_coco(encode_bits(bits_of(masks), *size), masks)


def test_noise_outgrows_the_first_buffer():
    masks = np.random.default_rng(0).random((40, 200, 190)) < 0.5
    rles = encode_bits(bits_of(masks), 200, 190)
    assert len(rles.counts.buffers()[2]) > 40 * 1024 + 200 * 190 + 16
    assert_as_coco(rles, masks)


def test_masks_said_to_be_empty_are_not_looked_at():
    masks = np.ones((3, 5, 6), bool)
    rles = encode_bits(bits_of(masks), 5, 6, np.array([True, False, True]))
    masks[1] = False
    assert_as_coco(rles, masks)


def test_bits_past_the_last_pixel_do_not_count():
    for size in [(3, 3), (9, 8), (5, 13)]:
        bits = np.full((1, (size[0] * size[1] + 7) // 8), 255, np.uint8)
        assert_as_coco(encode_bits(bits, *size), np.ones((1, *size), bool))


def test_no_masks():
    rles = encode_bits(np.empty((0, 2), np.uint8), 4, 4)
    assert (len(rles.counts), rles.area.shape, rles.bbox.shape) == (0, (0,), (0, 4))
    assert decode(rles.counts, 4, 4).shape == (0, 4, 4)
    assert decode([], 4, 4).shape == (0, 4, 4)


def test_decode_takes_slices_chunks_strings_and_bytes():
    masks = np.random.default_rng(1).random((5, 17, 11)) < 0.3
    counts = encode_bits(bits_of(masks), 17, 11).counts
    texts = counts.to_pylist()
    for given_counts, expected in [
        (counts.slice(2, 2), masks[2:4]),
        (pa.chunked_array([counts.slice(3), counts.slice(0, 2)]), masks[[3, 4, 0, 1]]),
        (counts.cast(pa.large_string()), masks),
        (counts.cast(pa.large_binary()).slice(1, 3), masks[1:4]),
        (texts, masks),
        ([text.encode() for text in texts], masks),
    ]:
        np.testing.assert_array_equal(decode(given_counts, 17, 11), expected)


@pytest.mark.parametrize("counts", ["", "1", "o", "T4", "S4", "\x01", "PPPPPPPPPPPPPPPP0", "S1O0000"])
def test_counts_that_do_not_fill_the_mask_are_refused(counts):
    whole = encode_bits(np.zeros((1, 13), np.uint8), 10, 10).counts[0].as_py()
    with pytest.raises(UserError, match="row 1 "):
        decode([whole, counts], 10, 10)


@pytest.mark.parametrize("size", [(0, 5), (5, -1), (2**16, 2**15)])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(UserError, match="pixels"):
        decode(["0"], *size)


def test_bits_of_another_size_are_refused():
    with pytest.raises(ValueError, match="8×9"):
        encode_bits(np.zeros((1, 8), np.uint8), 8, 9)


def test_area_of_bits_and_concatenation():
    masks = np.random.default_rng(2).random((4, 13, 7)) < 0.4
    bits = bits_of(masks)
    assert area_of_bits(bits).tolist() == masks.sum((1, 2)).tolist()
    parts = concatenate([encode_bits(bits[:1], 13, 7), encode_bits(bits[1:], 13, 7)])
    assert_as_coco(parts, masks)
