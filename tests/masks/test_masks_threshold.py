import math

import numpy as np
import pytest
import torch

from clipseg_ray.masks.threshold import Packed, pack


def compiled_pack(logits: torch.Tensor, limit: torch.Tensor) -> Packed:
    """Eager on the CPU is our machine code; compiled, here without a code generator, it is what a GPU runs."""
    torch.compiler.reset()
    return torch.compile(pack, fullgraph=True, backend="aot_eager", dynamic=False)(logits, limit)


PATHS = pytest.mark.parametrize("pack_path", [pack, compiled_pack], ids=["machine code", "torch"])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
SIZES = pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8), (7, 37), (64, 65), (352, 352)])


def maps(rows: int, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(size[0] * 1000 + size[1])
    return (torch.randn(rows, *size, generator=generator) * 5).to(dtype)


@PATHS
@DTYPES
@SIZES
def test_pack_gives_bits_maximum_and_probability_sum(pack_path, dtype, size):
    logits = maps(4, size, dtype)
    logits[3] = -7  # an empty mask
    limit = torch.tensor([0.0, -3.0, 2.5, 0.0])
    packed = pack_path(logits, limit)
    values = logits.float().flatten(1).numpy()
    inside = values > limit.numpy()[:, None]
    np.testing.assert_array_equal(packed.bits_pn, np.packbits(inside, axis=1, bitorder="little"))
    np.testing.assert_array_equal(packed.max_logit_p, values.max(1))
    expected = (inside / (1 + np.exp(-values.astype(np.float64)))).sum(1)
    np.testing.assert_allclose(packed.probability_sum_p, expected, rtol=2e-6)
    assert packed.probability_sum_p[3] == 0
    assert [t.dtype for t in packed] == [torch.uint8, torch.float32, torch.float32]


@PATHS
def test_the_threshold_itself_is_outside(pack_path):
    limit = torch.tensor([0.7])
    logits = limit.expand(1, 3, 3).clone()
    logits[0, 1, 1] = torch.nextafter(limit[0], torch.tensor(9.0))
    packed = pack_path(logits, limit)
    assert packed.bits_pn.tolist() == [[1 << 4, 0]]


@PATHS
def test_bfloat16_is_compared_as_float32(pack_path):
    # 1.0 is above 0.999, though 0.999 rounds to 1.0 in bfloat16
    packed = pack_path(torch.ones(1, 2, 2, dtype=torch.bfloat16), torch.tensor([0.999]))
    assert packed.bits_pn.tolist() == [[0b1111]]


@PATHS
def test_far_logits_have_probabilities_of_one_and_zero(pack_path):
    packed = pack_path(torch.tensor([[[3e38, 500.0, -500.0, -3e38]]]), torch.tensor([-1000.0]))
    assert packed.probability_sum_p.item() == pytest.approx(2, rel=1e-6)
    assert packed.bits_pn.tolist() == [[0b0111]]


@PATHS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 40, 76])
def test_any_non_finite_logit_makes_the_maximum_nan(pack_path, dtype, value, place):
    logits = maps(3, (7, 11), dtype)
    logits[1].view(-1)[place] = value
    packed = pack_path(logits, torch.zeros(3))
    assert packed.max_logit_p.isnan().tolist() == [False, True, False]


def test_pack_takes_views_and_no_rows():
    logits = maps(2, (9, 21))
    turned = pack(logits.transpose(1, 2), torch.zeros(2))
    np.testing.assert_array_equal(turned.bits_pn, pack(logits.mT.contiguous(), torch.zeros(2)).bits_pn)
    assert pack(logits[:0], torch.zeros(0)).bits_pn.shape == (0, 24)
