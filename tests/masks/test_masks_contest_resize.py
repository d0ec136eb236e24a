"""Contests at the image's own size: as if every prompt's logits were resized first, byte for byte."""

import numpy as np
import pycocotools.mask as coco
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg_ray.errors import UserError
from clipseg_ray.masks.competition import Contest, Output
from clipseg_ray.masks.contest_resize import encode_contest_at_size
from clipseg_ray.masks.log_sigmoid import log_sigmoid
from tests.masks import contests

pytestmark = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="torch rounds bilinear interpolation differently where it does not fuse multiply and add",
)

sides = st.one_of(st.integers(1, 70), st.integers(1, 200))


def assert_as_torch_numpy_and_coco(contest, logits_mhw, height, width, limit_k):
    rles = encode_contest_at_size(contest, logits_mhw.mT.contiguous().numpy(), height, width, limit_k)
    resized = F.interpolate(logits_mhw[:, None], size=(height, width), mode="bilinear", align_corners=False)[:, 0]
    maps = contests.decided(contest, resized.numpy(), lambda x: log_sigmoid(torch.from_numpy(x)).numpy())
    expected = [coco.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in maps > limit_k[:, None, None]]
    assert rles.counts.to_pylist() == [rle["counts"].decode() for rle in expected]
    assert rles.area.tolist() == [int(coco.area(rle)) for rle in expected]
    assert rles.bbox.tolist() == [coco.toBbox(rle).tolist() for rle in expected]


def smooth(prompts, grid, seed, steps):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(prompts, 1, max(2, grid[0] // 15), max(2, grid[1] // 15), generator=generator)
    logits = F.interpolate(coarse, size=grid, mode="bicubic")[:, 0] * 3
    return logits.round() if steps else logits


@given(contests.contests(4), st.tuples(sides, sides), st.tuples(sides, sides), st.integers(0, 10**6), st.booleans())
@settings(max_examples=80, deadline=None)
def test_any_contest_at_any_size(contest, grid, size, seed, steps):
    limit_k = np.resize(np.float32([0, -1.5, 0.7, 1]), len(contest.outputs))
    assert_as_torch_numpy_and_coco(contest, smooth(len(contest.prompts), grid, seed, steps), *size, limit_k)


@pytest.mark.parametrize(
    ("size", "weights"),
    [
        ((480, 640), (1.0,) * 6),
        ((1100, 1500), (3.0, *(1.0,) * 5)),
        ((17, 5000), (3.0, *(1.0,) * 5)),
        ((352, 352), (1.0,) * 6),
    ],
)
def test_a_group_at_photo_sizes(size, weights):
    group = tuple(range(6))
    outputs = tuple(Output(query=k, logits=k, group=group, weights=weights) for k in group)
    contest = Contest(prompts=group, outputs=outputs)
    assert_as_torch_numpy_and_coco(contest, smooth(6, (352, 352), 5, False), *size, np.zeros(6, np.float32))


def test_a_query_may_win_between_two_pixels_of_the_grid_alone():
    left, middle, right = [2.0, 0.0], [1.5, 1.5], [0.0, 2.0]
    logits_mwh = np.array([left, middle, right], np.float32)[:, :, None]
    group = (0, 1, 2)
    outputs = tuple(Output(query=k, logits=k, group=group, weights=(1.0,) * 3) for k in group)
    rles = encode_contest_at_size(Contest(prompts=group, outputs=outputs), logits_mwh, 1, 8, np.zeros(3, np.float32))
    assert rles.area.tolist() == [3, 2, 3]


def test_a_size_without_pixels_is_refused():
    contest = Contest(prompts=(0,), outputs=(Output(query=0, logits=0),))
    with pytest.raises(UserError, match="0×9"):
        encode_contest_at_size(contest, np.zeros((1, 4, 4), np.float32), 0, 9, np.zeros(1, np.float32))
