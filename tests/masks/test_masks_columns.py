import numpy as np
import pyarrow as pa
import pycocotools.mask as coco
import torch

from clipseg_ray.masks.columns import columns
from clipseg_ray.masks.resize import encode_at_size
from clipseg_ray.masks.rle import area_of_bits, concatenate, encode_bits
from clipseg_ray.masks.threshold import pack

H, W = 24, 31


def grid() -> tuple[torch.Tensor, torch.Tensor]:
    logits_phw = torch.randn(3, H, W, generator=torch.Generator().manual_seed(5)) * 3
    logits_phw[1] = -2  # empty
    logits_phw[2] += 30  # full
    return logits_phw, torch.tensor([0.4, 0.0, 0.0])


def test_rows_on_the_models_grid():
    logits, limit = grid()
    packed = pack(logits.mT, limit)
    rles = encode_bits(packed.bits_pn.numpy(), H, W, packed.max_logit_p.numpy() > limit.numpy())
    table = columns(rles, H, W, packed.max_logit_p.numpy(), packed.probability_sum_p.numpy())

    probability = logits.double().sigmoid().numpy()
    masks = (logits > limit[:, None, None]).numpy()
    np.testing.assert_allclose(table["score"], probability.max((1, 2)), rtol=1e-6)
    means = table["score_mean"].to_pylist()
    np.testing.assert_allclose(means[0], probability[0][masks[0]].mean(), rtol=1e-6)
    assert means[1] is None
    np.testing.assert_allclose(means[2], 1, rtol=1e-6)
    assert table["area"].to_pylist() == [int(masks[0].sum()), 0, H * W]
    np.testing.assert_allclose(table["coverage"], masks.mean((1, 2)), rtol=1e-6)
    assert table["bbox"][1].as_py() == {"x": 0, "y": 0, "w": 0, "h": 0}
    assert table["bbox"][2].as_py() == {"x": 0, "y": 0, "w": W, "h": H}
    for counts, mask in zip(table["counts"].to_pylist(), masks, strict=True):
        np.testing.assert_array_equal(coco.decode({"size": [H, W], "counts": counts}), mask)
    assert {name: column.type for name, column in table.items()} == {
        "score": pa.float32(),
        "score_mean": pa.float32(),
        "area": pa.int64(),
        "coverage": pa.float32(),
        "bbox": pa.struct([pa.field(side, pa.int32(), nullable=False) for side in "xywh"]),
        "counts": pa.string(),
    }


def test_rows_at_image_sizes_keep_the_grids_scores():
    logits, limit = grid()
    packed = pack(logits.mT, limit)
    height, width = np.array([48, 50, 7]), np.array([90, 31, 9])
    wh = logits.mT.contiguous().numpy()
    rles = concatenate(
        [encode_at_size(wh[p : p + 1], int(height[p]), int(width[p]), limit.numpy()[p : p + 1]) for p in range(3)]
    )
    grid_area = area_of_bits(packed.bits_pn.numpy())
    at_grid = columns(
        encode_bits(packed.bits_pn.numpy(), H, W), H, W, packed.max_logit_p.numpy(), packed.probability_sum_p.numpy()
    )
    table = columns(rles, height, width, packed.max_logit_p.numpy(), packed.probability_sum_p.numpy(), grid_area)
    assert table["score"] == at_grid["score"]
    assert table["score_mean"] == at_grid["score_mean"]
    assert table["area"].to_pylist() == rles.area.tolist()
    np.testing.assert_allclose(table["coverage"], rles.area / (height * width), rtol=1e-6)
    assert table["bbox"][2].as_py() == {"x": 0, "y": 0, "w": 9, "h": 7}


def test_a_mask_lost_in_resizing_has_no_mean():
    logits = torch.full((1, 9, 9), -9.0)
    logits[0, 0, 0] = 1.0
    limit = torch.zeros(1)
    packed = pack(logits, limit)
    rles = encode_at_size(logits.numpy(), 1, 1, limit.numpy())
    grid_area = area_of_bits(packed.bits_pn.numpy())
    assert grid_area.tolist() == [1]
    table = columns(rles, 1, 1, packed.max_logit_p.numpy(), packed.probability_sum_p.numpy(), grid_area)
    assert table["score_mean"].to_pylist() == [None]
    assert table["area"].to_pylist() == [0]


def test_logits_far_below_zero_score_zero_without_a_warning(recwarn):
    packed = pack(torch.full((1, 2, 2), -3000.0), torch.zeros(1))
    rles = encode_bits(packed.bits_pn.numpy(), 2, 2)
    table = columns(rles, 2, 2, packed.max_logit_p.numpy(), packed.probability_sum_p.numpy())
    assert table["score"].to_pylist() == [0]
    assert not recwarn
