"""The guided filter against its literal form, cell by cell and window by window, and what it leaves alone."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg_ray.masks.guided import GuidedFilter

_CONTENTS = ("noise", "halves", "ramp", "constant", "few pixels")


def literal(probability_hw, pixels_hwc, radius, epsilon):
    """He et al., equations 14 to 16, at a quarter of the side; float64, upright. Not clipped."""
    height, width = probability_hw.shape
    colours_hwc = pixels_hwc.astype(np.float64) / 255
    cells = max(1, round(radius / 4))
    rows, columns = math.ceil(height / 4), math.ceil(width / 4)

    def pooled(plane):
        return np.array(
            [
                [
                    plane[
                        i * height // rows : math.ceil((i + 1) * height / rows),
                        j * width // columns : math.ceil((j + 1) * width / columns),
                    ].mean((0, 1))
                    for j in range(columns)
                ]
                for i in range(rows)
            ]
        )

    guide, target = pooled(colours_hwc), pooled(probability_hw.astype(np.float64))

    def window(plane, i, j):
        return plane[max(0, i - cells) : i + cells + 1, max(0, j - cells) : j + cells + 1]

    a, b = np.zeros((rows, columns, 3)), np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            colours, values = window(guide, i, j).reshape(-1, 3), window(target, i, j).reshape(-1)
            covariance = (colours * values[:, None]).mean(0) - colours.mean(0) * values.mean()
            sigma = (colours[:, :, None] * colours[:, None, :]).mean(0) - np.outer(colours.mean(0), colours.mean(0))
            a[i, j] = np.linalg.solve(sigma + epsilon * np.eye(3), covariance)
            b[i, j] = values.mean() - a[i, j] @ colours.mean(0)
    mean_a = np.array([[window(a, i, j).mean((0, 1)) for j in range(columns)] for i in range(rows)])
    mean_b = np.array([[window(b, i, j).mean() for j in range(columns)] for i in range(rows)])

    def between(count, size):
        place = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
        lower = np.floor(place).astype(int)
        return lower, np.minimum(lower + 1, count - 1), place - lower

    def stretched(plane):
        i, k, down = between(rows, height)
        j, m, across = between(columns, width)
        plane = plane.reshape(rows, columns, -1)
        left = plane[i][:, j] * (1 - down)[:, None, None] + plane[k][:, j] * down[:, None, None]
        right = plane[i][:, m] * (1 - down)[:, None, None] + plane[k][:, m] * down[:, None, None]
        return left * (1 - across)[None, :, None] + right * across[None, :, None]

    return (stretched(mean_a) * colours_hwc).sum(2) + stretched(mean_b)[..., 0]


def picture(rng, height, width, content):
    """uint8 [h, w, 3]."""
    across = np.arange(width)[None, :, None] * np.ones((height, 1, 3))
    if content == "noise":
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if content == "constant":
        return np.broadcast_to(rng.integers(0, 256, 3, dtype=np.uint8), (height, width, 3)).copy()
    if content == "ramp":
        return (across * 255 / max(1, width - 1)).astype(np.uint8)
    if content == "halves":
        return np.where(across < rng.integers(0, width + 1), rng.integers(0, 256, 3), rng.integers(0, 256, 3)).astype(
            np.uint8
        )
    found = np.zeros((height, width, 3), np.uint8)
    found[rng.integers(height), rng.integers(width)] = 255
    return found


def both(filter_, logits_phw, pixels_hwc, limit_p=None):
    """What machine code and PyTorch's operations make of the maps: logits, upright."""
    logits_pwh = torch.from_numpy(logits_phw).transpose(1, 2).contiguous()
    pixels_bhwc, rows = torch.from_numpy(pixels_hwc)[None], torch.zeros(len(logits_phw), dtype=torch.int64)
    compiled = filter_.refined(logits_pwh, filter_.guide(pixels_bhwc), rows, limit_p)
    faint_p = torch.full((len(rows),), -torch.inf) if limit_p is None else filter_.faint(limit_p)
    guide = filter_.guide_with_torch(pixels_bhwc.permute(0, 3, 2, 1).contiguous())
    return [
        each.transpose(1, 2).numpy()
        for each in (compiled, filter_.refined_with_torch(logits_pwh, guide, rows, faint_p))
    ]


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    radius=st.integers(4, 64),
    epsilon=st.sampled_from([1e-4, 3e-4, 1e-3, 1e-1, 1.0]),
    guide=st.sampled_from(_CONTENTS),
    target=st.sampled_from(_CONTENTS),
)
def test_it_is_the_literal_filter(seed, height, width, radius, epsilon, guide, target):
    rng = np.random.default_rng(seed)
    pixels_hwc = picture(rng, height, width, guide)
    logits_phw = (picture(rng, height, width, target)[None, ..., 0] / np.float32(16) - 8).astype(np.float32)
    expected_hw = literal(sigmoid(logits_phw[0]), pixels_hwc, radius, epsilon).clip(0, 1)
    for refined_phw in both(GuidedFilter(radius, epsilon), logits_phw, pixels_hwc):
        np.testing.assert_allclose(sigmoid(refined_phw[0]), expected_hw, rtol=0, atol=1e-6 / math.sqrt(epsilon))


def test_a_blurred_mask_follows_the_picture_up_to_the_border_of_the_image():
    pixels_hwc = np.full((96, 96, 3), 40, np.uint8)
    pixels_hwc[:, 42:] = (200, 120, 60)  # a thing that reaches three borders
    across = (np.arange(96) - 50) / np.float32(12)  # what the model saw of it: blurred, and 8 pixels off
    logits_phw = np.broadcast_to(across.astype(np.float32), (1, 96, 96)).copy()
    assert [int((logits_phw[0, row] > 0).argmax()) for row in (0, 48, 95)] == [51] * 3
    for refined_phw in both(GuidedFilter(16, 1e-4), logits_phw, pixels_hwc):
        firsts = [int((refined_phw[0, row] > 0).argmax()) for row in (0, 48, 95)]
        assert all(abs(first - 42) <= 1 for first in firsts), firsts


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    radius=st.sampled_from([4, 8, 32]),
    epsilon=st.sampled_from([1e-4, 1e-3, 1.0]),
    guide=st.sampled_from(_CONTENTS),
    target=st.sampled_from(_CONTENTS),
    threshold=st.sampled_from([0.05, 0.5, 0.9]),
)
def test_what_is_too_faint_to_be_filtered_would_have_stayed_empty(seed, radius, epsilon, guide, target, threshold):
    rng = np.random.default_rng(seed)
    filter_ = GuidedFilter(radius, epsilon)
    limit_p = torch.logit(torch.tensor([threshold]))
    faint = float(filter_.faint(limit_p)[0])
    pixels_hwc = picture(rng, 33, 28, guide)
    shape = picture(rng, 33, 28, target)[None, ..., 0] / np.float32(255)
    logits_phw = (shape * 20 - 20 + np.nextafter(np.float32(faint), np.float32(-np.inf))).astype(np.float32)
    for filtered, given_ in zip(
        both(filter_, logits_phw, pixels_hwc), both(filter_, logits_phw, pixels_hwc, limit_p), strict=True
    ):
        assert (given_ == logits_phw).all()  # left as it was
        assert not (filtered > limit_p.numpy()).any()
        assert sigmoid(filtered).max() <= filter_.reach * sigmoid(logits_phw).max() + 2e-6


def test_the_filter_can_raise_a_maps_greatest_so_the_margin_is_not_there_for_nothing():
    pixels_hwc = np.zeros((36, 36, 3), np.uint8)
    pixels_hwc[16:20, 16:20] = 128
    pixels_hwc[17, 17] = 255
    logits_phw = np.full((1, 36, 36), -20, np.float32)
    logits_phw[0, 16:20, 16:20] = -6
    for refined_phw in both(GuidedFilter(4, 1e-4), logits_phw, pixels_hwc):
        assert sigmoid(refined_phw).max() > 1.5 * sigmoid(logits_phw).max()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_stays_so_and_spoils_no_other(bad):
    rng = np.random.default_rng(0)
    logits_phw = rng.standard_normal((3, 20, 24)).astype(np.float32)
    logits_phw[1, 3, 4] = bad
    pixels_hwc = picture(rng, 20, 24, "noise")
    alone = both(GuidedFilter(8, 1e-3), logits_phw[::2].copy(), pixels_hwc)
    for refined_phw, without in zip(both(GuidedFilter(8, 1e-3), logits_phw, pixels_hwc), alone, strict=True):
        np.testing.assert_array_equal(refined_phw[1], logits_phw[1])
        np.testing.assert_array_equal(refined_phw[::2], without)


def test_each_row_has_the_guide_of_its_image():
    rng = np.random.default_rng(1)
    filter_ = GuidedFilter(8, 1e-3)
    logits_pwh = torch.from_numpy(rng.standard_normal((4, 24, 20)).astype(np.float32))
    pixels_bhwc = torch.from_numpy(rng.integers(0, 256, (2, 20, 24, 3), dtype=np.uint8))
    image_index_p = torch.tensor([1, 0, 0, 1])
    together = filter_.refined(logits_pwh, filter_.guide(pixels_bhwc), image_index_p)
    for row, image in enumerate(image_index_p.tolist()):
        torch.testing.assert_close(together[row], filter_.of_image(pixels_bhwc[image])(logits_pwh[row][None])[0])


def test_no_threshold_is_beyond_what_comes_out():
    """Far from the thing the filter gives 0 or less: outside at any threshold; inside it 1 or more, and finite."""
    pixels_hwc = np.zeros((64, 64, 3), np.uint8)
    pixels_hwc[:, 32:] = 255
    logits_phw = np.where(np.arange(64) < 32, -30, 30).astype(np.float32)[None, None].repeat(64, 1)
    for refined_phw in both(GuidedFilter(8, 1e-4), logits_phw, pixels_hwc):
        assert np.isfinite(refined_phw).all()
        assert refined_phw[..., :12].max() < -13.9  # a threshold of 1e-6
        assert refined_phw[..., 52:].min() > 13.9
