"""Refined logits from the engine: those of the decoder, filtered by hand, whatever else is asked of it."""

import numpy as np
import pytest
import torch

from benchmarks.random_checkpoint import write_checkpoint
from clipseg_ray.masks.competition import Competition
from clipseg_ray.masks.guided import GuidedFilter
from clipseg_ray.masks.heat import quantised
from clipseg_ray.masks.threshold import pack
from clipseg_ray.model import checkpoint
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from tests.model.simulated_cuda import SimulatedCuda
from tests.model.test_model_contests import group_of, own_logits, rows_of

FILTER = GuidedFilter(8, 1e-3)
LIMITS = np.array([-0.2, 0.1, 0.3], np.float32)


@pytest.fixture(scope="module")
def inputs(demo):
    rng = np.random.default_rng(5)
    pixels = np.kron(rng.integers(0, 256, (3, 12, 12, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
    return pixels, rng.standard_normal((3, demo.config.projection_dim)).astype(np.float32)


def engine_of(loaded, refine=FILTER, device="cpu", **optional):
    model = make_model(loaded, device=device, batch=2, decode_chunk=4, columns=optional)
    return Engine(model, optional, refine)


def refined(logits_bqwh, pixels_bhwc, limits=None):
    """float32 [b, q, w, h], by the filter alone, image by image."""
    limit_q = None if limits is None else torch.from_numpy(limits)
    return torch.stack(
        [
            FILTER.of_image(torch.from_numpy(pixels_hwc))(torch.as_tensor(logits_qwh), limit_q)
            for logits_qwh, pixels_hwc in zip(logits_bqwh, pixels_bhwc, strict=True)
        ]
    )


def test_all_that_comes_of_a_mask_comes_of_its_refined_logits(demo, inputs):
    pixels, conditionals = inputs
    engine = engine_of(demo, heat=24)
    prompts = engine.embed(conditionals)
    plain = own_logits(engine, pixels, prompts, range(3))
    expected = refined(plain, pixels, LIMITS)
    assert np.abs(expected.numpy() - plain).max() > 0.1
    blocks = list(engine.segment(pixels, prompts, LIMITS, want_logits=True))
    rows = rows_of(blocks)
    assert len(rows) == 9
    for (image, query), (bits, highest, total, further) in rows.items():
        packed = pack(expected[image, query][None], torch.from_numpy(LIMITS[[query]]))
        assert np.array_equal(bits, packed.bits_pn[0].numpy())
        assert (highest, total) == (packed.max_logit_p[0], packed.probability_sum_p[0])
        assert np.array_equal(further["heat"], quantised(expected[image, query][None], 24)[0].numpy())
    for block in blocks:
        for row, logits_wh in zip(block.logits_row_k, block.logits_kwh, strict=True):
            image, query = block.image_index_p[row], block.query_index_p[row]
            assert np.array_equal(logits_wh, expected[image, query].numpy())


def test_features_need_their_pixels_and_give_the_same(demo, inputs):
    pixels, conditionals = inputs
    engine = engine_of(demo)
    prompts, features = engine.embed(conditionals), engine.encode(pixels)
    whole = rows_of(engine.segment(pixels, prompts, LIMITS))
    pairs = (np.array([2, 0]), np.array([1, 2]))  # the image between them is not wanted
    some = rows_of(engine.segment(features, prompts, LIMITS, pairs, guides=pixels))
    assert sorted(some) == [(0, 2), (2, 1)]
    assert all(np.array_equal(some[pair][0], whole[pair][0]) for pair in some)
    with pytest.raises(ValueError, match="give them as guides"):
        next(engine.segment(features, prompts, LIMITS))


def test_queries_that_compete_are_decided_on_refined_logits(demo, inputs):
    pixels, conditionals = inputs
    engine = engine_of(demo)
    prompts = engine.embed(conditionals)
    limits = np.full(3, -100, np.float32)  # below any logit, so that every pixel is somebody's
    competition = Competition((group_of((0, 1, 2)),), (-1, -1, -1))
    blocks = list(engine.segment(pixels, prompts, limits, competition=competition, want_logits=True))
    rows = rows_of(blocks)
    expected = refined(own_logits(engine, pixels, prompts, range(3)), pixels)
    winner = expected.numpy().argmax(1)
    for image in range(3):
        taken = np.stack([np.unpackbits(rows[image, query][0], bitorder="little") for query in range(3)])
        assert (taken.sum(0) == 1).all()  # each pixel has one winner still
        np.testing.assert_array_equal(taken.argmax(0), winner[image].reshape(-1))
    met = {int(block.image_index_p[one.start]): one.logits_mwh for block in blocks for one in block.met}
    assert all(np.array_equal(met[image], expected[image].numpy()) for image in range(3))


def test_without_it_nothing_changes(demo, inputs):
    pixels, conditionals = inputs
    plain, other = engine_of(demo, refine=None), Engine(make_model(demo, batch=2, decode_chunk=4))
    ours = rows_of(plain.segment(pixels, plain.embed(conditionals), LIMITS))
    theirs = rows_of(other.segment(pixels, other.embed(conditionals), LIMITS))
    assert all(np.array_equal(a, b) for pair in theirs for a, b in zip(ours[pair][:3], theirs[pair][:3], strict=True))


def test_a_grid_that_is_not_the_pictures_has_a_guide_of_its_size(tmp_path):
    write_checkpoint(tmp_path, vision_config={"patch_size": 6, "image_size": 24}, image_size=48)
    loaded = checkpoint.load(str(tmp_path))
    engine = engine_of(loaded)
    side = loaded.preprocessing.size
    assert engine.grid != (side, side)
    pixels = np.full((1, side, side, 3), 90, np.uint8)
    conditionals = np.random.default_rng(0).standard_normal((1, loaded.config.projection_dim)).astype(np.float32)
    prompts = engine.embed(conditionals)
    (block,) = engine.segment(pixels, prompts, np.full(1, -9, np.float32), want_logits=True)
    same = np.full((1, *engine.grid, 3), 90, np.uint8)
    expected = refined(own_logits(engine, pixels, prompts, [0]), same)
    np.testing.assert_array_equal(block.logits_kwh, expected[0].numpy())


@pytest.mark.usefixtures("without_triton")
@pytest.mark.parametrize("lag", ["all", ("default",), ("stream 1", "stream 2")])
@pytest.mark.parametrize("together", [False, True])
def test_a_gpu_gives_the_same_up_to_rounding(small, monkeypatch, lag, together):
    rng = np.random.default_rng(6)
    pixels = rng.integers(0, 256, (3, 48, 48, 3), np.uint8)
    conditionals = rng.standard_normal((3, small.config.projection_dim)).astype(np.float32)
    competition = Competition((group_of((0, 1, 2)),), (-1, -1, -1)) if together else None

    def answers(device):
        engine = engine_of(small, device=device)
        return rows_of(engine.segment(pixels, engine.embed(conditionals), LIMITS, competition=competition))

    expected = answers("cpu")
    with SimulatedCuda(monkeypatch, lag):
        found = answers("cuda")
    assert sorted(found) == sorted(expected)
    for pair, (bits, highest, total, _) in found.items():
        theirs = expected[pair]
        assert np.unpackbits(bits ^ theirs[0]).sum() <= 2
        assert highest == pytest.approx(theirs[1], abs=1e-3)
        assert total == pytest.approx(theirs[2], rel=1e-3, abs=1)
