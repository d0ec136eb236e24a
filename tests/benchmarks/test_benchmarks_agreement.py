"""Agreement: rounding at the threshold is a tie, anything else is not."""

import numpy as np
import pytest

from benchmarks.agreement import Agreement, columns_differ, precision_error


def fields():
    return np.random.default_rng(0).normal(0, 3, (4, 8, 8)).astype(np.float32)


def test_a_pixel_that_rounding_moves_is_a_tie():
    reference = fields()
    reference[1, 2, 3] = 1e-6
    ours = reference.copy()
    ours[1, 2, 3] = -1e-6
    found = Agreement.of(ours > 0, reference > 0, ours, reference)
    assert (found.differing, found.ties, found.agrees) == (1, 1, True)


def test_a_pixel_flipped_far_from_the_threshold_is_no_tie():
    reference = fields()
    masks = reference > 0
    masks[0, 0, 0] = not masks[0, 0, 0]
    found = Agreement.of(masks, reference > 0, reference, reference)
    assert (found.differing, found.ties, found.agrees) == (1, 0, False)


def test_logits_beyond_the_tolerance_do_not_agree_even_if_masks_do():
    reference = np.abs(fields()) + 1
    found = Agreement.of(reference > 0, reference > 0, reference + 1e-3, reference)
    assert found.differing == 0
    assert not found.agrees


def test_precision_error_is_iou_and_share_of_pixels():
    exact = np.array([[1, 1, 0, 0], [0, 0, 0, 0]], bool)
    found = precision_error(np.array([[1, 0, 0, 0], [0, 0, 0, 0]], bool), exact)
    assert found["iou_min"] == 0.5
    assert found["iou_mean"] == 0.75
    assert found["pixels_differ"] == pytest.approx(1 / 8)


def test_a_null_on_one_side_only_is_an_infinite_difference():
    assert columns_differ([0.5, None], [0.25, np.nan]) == 0.25
    assert columns_differ([0.5, None], [0.5, 0.1]) == np.inf
