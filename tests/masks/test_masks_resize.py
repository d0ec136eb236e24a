import numpy as np
import pycocotools.mask as coco
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg_ray.errors import UserError
from clipseg_ray.masks.resize import encode_at_size

pytestmark = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="torch rounds bilinear interpolation differently where it does not fuse multiply and add",
)


def assert_as_torch_and_coco(logits_phw: torch.Tensor, height: int, width: int, limit_p: np.ndarray) -> None:
    rles = encode_at_size(logits_phw.mT.contiguous().numpy(), height, width, limit_p)
    resized = F.interpolate(logits_phw[:, None], size=(height, width), mode="bilinear", align_corners=False)[:, 0]
    masks = (resized > torch.from_numpy(limit_p)[:, None, None]).numpy()
    expected = [coco.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
    assert rles.counts.to_pylist() == [rle["counts"].decode() for rle in expected]
    assert rles.area.tolist() == [int(coco.area(rle)) for rle in expected]
    assert rles.bbox.tolist() == [coco.toBbox(rle).tolist() for rle in expected]


def maps(seed: int, grid: tuple[int, int], texture: str, limit: float, scale: float = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(3, 1, max(2, grid[0] // 20), max(2, grid[1] // 20), generator=generator)
    smooth = F.interpolate(coarse, size=grid, mode="bicubic")[:, 0]
    noise = torch.randn(3, *grid, generator=generator)
    if texture == "smooth":
        return smooth * scale + limit
    if texture == "noise":
        return noise * scale + limit
    if texture == "steps":  # whole plateaus exactly at the threshold
        return (smooth * 3).round() + limit
    ulps = noise.mul(2).round().int()  # every value within a few representable numbers of the threshold
    return (torch.full_like(noise, limit or 1e-30).view(torch.int32) + ulps).view(torch.float32)


textures = st.sampled_from(["smooth", "noise", "steps", "ulps"])
limits = st.sampled_from([0.0, -1.5, 0.7])
sides = st.one_of(st.integers(1, 70), st.integers(1, 300))


@given(st.integers(0, 10**6), st.tuples(sides, sides), st.tuples(sides, sides), textures, limits)
@settings(max_examples=300, deadline=None)
def test_any_size_is_as_torch_and_pycocotools(seed, grid, size, texture, limit):
    limit_p = np.float32([limit, limit, limit + 0.5])
    assert_as_torch_and_coco(maps(seed, grid, texture, limit), *size, limit_p)


@pytest.mark.parametrize("texture", ["smooth", "noise", "steps", "ulps"])
@pytest.mark.parametrize(
    "size", [(480, 640), (427, 640), (640, 427), (352, 352), (352, 500), (700, 352), (224, 224), (1, 500), (60, 60)]
)
def test_the_models_grid_at_photo_sizes(size, texture):
    limit_p = np.float32([0, 0, 1])
    assert_as_torch_and_coco(maps(7, (352, 352), texture, 0.0), *size, limit_p)


@pytest.mark.parametrize("scale", [1e-42, 1e-20, 1e3, 1e30])
def test_logits_of_any_magnitude(scale):
    logits = maps(3, (90, 130), "smooth", 0.0, scale)
    assert_as_torch_and_coco(logits, 211, 190, np.zeros(3, np.float32))
    assert_as_torch_and_coco(logits, 31, 40, np.zeros(3, np.float32))


def test_small_objects_at_the_words_borders():
    """Single pixels at every row: what lies between words of 64 rows must not be lost."""
    for rows in (64, 127, 128, 130):
        logits = torch.full((rows, rows, 3), -5.0)
        logits[torch.arange(rows), torch.arange(rows), 1] = 9.0
        assert_as_torch_and_coco(logits, 2 * rows + 5, 7, np.zeros(rows, np.float32))


def test_empty_full_and_no_maps():
    logits = torch.tensor([-3.0, 3.0, 0.5])[:, None, None].expand(3, 50, 40)
    assert_as_torch_and_coco(logits, 120, 90, np.float32([0, 0, 0.5]))
    assert len(encode_at_size(np.empty((0, 5, 5), np.float32), 9, 9, np.empty(0, np.float32)).counts) == 0


def test_what_cannot_be_encoded_is_refused():
    logits = np.zeros((1, 4, 4), np.float32)
    with pytest.raises(UserError, match="0×9"):
        encode_at_size(logits, 0, 9, np.zeros(1, np.float32))
    with pytest.raises(ValueError, match="float32"):
        encode_at_size(logits.astype(np.float64), 9, 9, np.zeros(1, np.float32))
    with pytest.raises(ValueError, match="thresholds"):
        encode_at_size(logits, 9, 9, np.zeros(2, np.float32))
