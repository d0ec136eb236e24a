"""Images seen in tiles: windows of one map, held against numpy over transformers' logits of each window."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clipseg_ray.masks.competition import Competition, Contest, Output
from clipseg_ray.masks.guided import GuidedFilter
from clipseg_ray.masks.heat import quantised
from clipseg_ray.masks.threshold import pack
from clipseg_ray.masks.verdict import Verdict
from clipseg_ray.model.clipseg import Clipseg
from clipseg_ray.model.embedding import normalise
from clipseg_ray.model.encoding import Encoding
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.pixels.viewed_images import Gathering
from clipseg_ray.pixels.views import Views
from tests import reference

SIDE = 48
QUERIES = 5
EVERYWHERE = np.full(QUERIES, -1e6, np.float32)
"""Thresholds that every pixel is above, so that logits come with every row."""


def _smooth(side, seed):
    """uint8 [side, side, 3]."""
    coarse = torch.from_numpy(np.random.default_rng(seed).uniform(0, 255, (1, 3, 7, 7)))
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 255)
    return smooth[0].permute(1, 2, 0).to(torch.uint8).numpy()


def _images(*tiles, views):
    gathering = Gathering(len(tiles) + 2, SIDE, views)
    for number, each in enumerate(tiles):
        gathering.add(_smooth(SIDE, number), _smooth(each * SIDE, 100 + number) if each > 1 else None)
    return gathering.done()


def _conditionals(width):
    return np.random.default_rng(4).standard_normal((QUERIES, width)).astype(np.float32)


def _engine(checkpoint, views, optional=None, batch=2, decode_chunk=4):
    model = make_model(checkpoint, batch=batch, decode_chunk=decode_chunk, columns=optional or ())
    return Engine(model, optional, views=views)


@torch.inference_mode()
def _transformers(checkpoint, pixels_hwc, conditionals_qc):
    """float64 [q, h, w]."""
    pixels_bchw = normalise(torch.from_numpy(np.ascontiguousarray(pixels_hwc))[None], checkpoint.preprocessing)
    conditionals = torch.from_numpy(conditionals_qc)
    found = reference.model_of(checkpoint)(
        pixel_values=pixels_bchw.expand(len(conditionals), -1, -1, -1), conditional_embeddings=conditionals
    )
    return found.logits.double().numpy()


def _bilinear(map_hw, side):
    """By hand: each new pixel's centre, between the centres of the four old ones around it."""
    old = map_hw.shape[0]
    at = np.clip((np.arange(side) + 0.5) * old / side - 0.5, 0, old - 1)
    low = np.minimum(at.astype(int), old - 2)
    share = at - low
    rows = map_hw[low] * (1 - share)[:, None] + map_hw[low + 1] * share[:, None]
    return rows[:, low] * (1 - share) + rows[:, low + 1] * share


def _plain(checkpoint, images, number, conditionals_qc, *, starts, whole):
    """float64 [q, T, T]: every window's logits, Hann-weighted, over the sum of weights; the mean with the whole's."""
    large_hwc = images.finest(number)
    side = len(large_hwc)
    sums, weights = np.zeros((len(conditionals_qc), side, side)), np.zeros((side, side))
    hann = np.sin(np.pi * (np.arange(SIDE) + 0.5) / SIDE) ** 2
    for top in starts:
        for left in starts:
            window = np.s_[top : top + SIDE, left : left + SIDE]
            sums[:, *window] += np.outer(hann, hann) * _transformers(checkpoint, large_hwc[window], conditionals_qc)
            weights[window] += np.outer(hann, hann)
    merged = sums / weights
    if not whole:
        return merged
    coarse = _transformers(checkpoint, images.whole_bhwc[number], conditionals_qc)
    return (merged + np.stack([_bilinear(each, side) for each in coarse])) / 2


def _maps(blocks):
    """{(image, query): logits [h, w]} of blocks that came with logits, each pair once."""
    maps = {}
    for block in blocks:
        assert (block.logits_row_k == np.arange(len(block.query_index_p))).all()
        for row, pair in enumerate(zip(block.image_index_p.tolist(), block.query_index_p.tolist(), strict=True)):
            assert pair not in maps
            assert block.grid == block.logits_kwh.shape[:0:-1]
            maps[pair] = block.logits_kwh[row].T
    return maps


@pytest.mark.parametrize(
    ("tiles", "overlap", "whole", "starts"),
    [
        (2, 0.5, True, [0, 24, 48]),
        (2, 0.5, False, [0, 24, 48]),
        (3, 0.5, True, [0, 24, 48, 72, 96]),
        (2, 0.0, True, [0, 48]),
        (3, 0.25, True, [0, 32, 64, 96]),
        (2, 0.6, False, [0, 16, 32, 48]),
    ],
)
def test_merged_logits_are_those_of_a_plain_reference(small, tiles, overlap, whole, starts):
    views = Views(tiles=tiles, overlap=overlap, whole=whole)
    images = _images(1, tiles, tiles, views=views)
    conditionals = _conditionals(small.config.projection_dim)
    engine = _engine(small, views)
    found = _maps(engine.segment(images, engine.embed(conditionals), EVERYWHERE, want_logits=True))
    assert sorted(found) == [(image, query) for image in range(3) for query in range(QUERIES)]
    for number in (1, 2):
        expected = _plain(small, images, number, conditionals, starts=starts, whole=whole)
        ours = np.stack([found[number, query] for query in range(QUERIES)])
        assert ours.shape == expected.shape == (QUERIES, tiles * SIDE, tiles * SIDE)
        assert np.abs(ours - expected).max() <= 2e-5 * max(1.0, expected.std())
    ours = np.stack([found[0, query] for query in range(QUERIES)])
    assert np.abs(ours - _transformers(small, images.whole_bhwc[0], conditionals)).max() <= 2e-5 * max(1.0, ours.std())


def test_images_without_tiles_have_the_bytes_of_a_run_without_views(small):
    views = Views(tiles="auto", overlap=0.5, whole=True)
    images = _images(1, 1, 1, views=views)
    conditionals, thresholds = _conditionals(small.config.projection_dim), np.zeros(QUERIES, np.float32)
    plain, viewed = _engine(small, None, {"heat": 8}), _engine(small, views, {"heat": 8})
    without = list(plain.segment(images.whole_bhwc, plain.embed(conditionals), thresholds))
    for others in (
        plain.segment(images, plain.embed(conditionals), thresholds),
        viewed.segment(images, viewed.embed(conditionals), thresholds),
    ):
        for one, other in zip(without, others, strict=True):
            for name in ("image_index_p", "query_index_p", "bits_pn", "max_logit_p", "probability_sum_p"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            np.testing.assert_array_equal(one.optional["heat"], other.optional["heat"])
            assert one.grid == other.grid == (SIDE, SIDE)


def test_what_follows_the_logits_is_on_the_larger_grid(small):
    views = Views(tiles=2, overlap=0.5, whole=True)
    images = _images(2, 1, 2, views=views)
    optional = {"presence": True, "heat": 16}
    engine, plain = _engine(small, views, optional), _engine(small, None, optional)
    prompts = engine.embed(_conditionals(small.config.projection_dim))
    thresholds = np.linspace(-0.5, 0.5, QUERIES).astype(np.float32)
    maps = _maps(engine.segment(images, prompts, EVERYWHERE, want_logits=True))
    whole = {
        (image, query): value
        for block in plain.segment(images.whole_bhwc, prompts, thresholds)
        for image, query, value in zip(
            block.image_index_p, block.query_index_p, block.optional["presence"], strict=True
        )
    }
    rows = 0
    for block in engine.segment(images, prompts, thresholds):
        for row, (image, query) in enumerate(zip(block.image_index_p, block.query_index_p, strict=True)):
            logits_1wh = torch.from_numpy(maps[image, query].T.copy())[None]
            packed = pack(logits_1wh, torch.from_numpy(thresholds[query : query + 1]))
            np.testing.assert_array_equal(block.bits_pn[row], packed.bits_pn[0])
            assert block.max_logit_p[row] == packed.max_logit_p[0] == maps[image, query].max()
            np.testing.assert_array_equal(block.optional["heat"][row], quantised(logits_1wh, 16)[0])
            assert block.optional["presence"][row] == pytest.approx(whole[image, query], abs=1e-6)
            rows += 1
    assert rows == 3 * QUERIES


def test_pairs_have_the_logits_they_have_among_all_and_images_without_any_are_not_encoded(small, monkeypatch):
    views = Views(tiles=2, overlap=0.5, whole=True)
    images = _images(2, 1, 2, 1, 2, views=views)
    engine = _engine(small, views)
    prompts = engine.embed(_conditionals(small.config.projection_dim))
    everything = _maps(engine.segment(images, prompts, EVERYWHERE, want_logits=True))
    encoded = []
    original = Encoding._encode
    monkeypatch.setattr(Encoding, "_encode", lambda self, up, count: encoded.append(count) or original(self, up, count))
    pairs = (np.array([4, 3, 2, 4, 4]), np.array([2, 1, 0, 4, 0]))
    some = _maps(engine.segment(images, prompts, EVERYWHERE, pairs, want_logits=True))
    assert sum(encoded) == 1 + 2 * 10
    assert sorted(some) == sorted(zip(*(index.tolist() for index in pairs), strict=True))
    for pair, logits_hw in some.items():
        np.testing.assert_allclose(logits_hw, everything[pair], atol=1e-5)
    features = engine.encode(images)
    assert len(features) == 5
    for pair, logits_hw in _maps(engine.segment(features, prompts, EVERYWHERE, pairs, want_logits=True)).items():
        np.testing.assert_allclose(logits_hw, everything[pair], atol=1e-5)


def test_contests_are_decided_on_merged_logits(small):
    views = Views(tiles=2, overlap=0.5, whole=True)
    images = _images(2, 1, views=views)
    engine = _engine(small, views, decode_chunk=3)
    prompts = engine.embed(_conditionals(small.config.projection_dim))
    maps = _maps(engine.segment(images, prompts, EVERYWHERE, want_logits=True))
    contest = Contest(
        prompts=(0, 1, 2, 3),
        outputs=(
            Output(query=0, logits=0, group=(0, 1, 2), weights=(1, 1, 1)),
            Output(query=1, logits=1, group=(0, 1, 2), weights=(1, 1, 1)),
            Output(query=2, logits=3, rivals=(0,)),
        ),
    )
    competition = Competition(contests=(contest,), alone=(-1, -1, -1, 4))
    limit = float(np.median(maps[0, 0]))
    thresholds = np.full(4, limit, np.float32)
    verdict = Verdict(contest, torch.device("cpu"))
    seen = {}
    for block in engine.segment(images, prompts, thresholds, competition=competition):
        for row, pair in enumerate(zip(block.image_index_p.tolist(), block.query_index_p.tolist(), strict=True)):
            seen[pair] = block.bits_pn[row]
    assert sorted(seen) == [(image, query) for image in range(2) for query in range(4)]
    flipped = total = 0
    for image in range(2):
        logits_mwh = torch.from_numpy(np.stack([maps[image, prompt].T for prompt in range(4)]))
        decided_kwh = verdict.maps(logits_mwh.flatten(1)).unflatten(1, logits_mwh.shape[1:])
        expected = pack(decided_kwh, torch.full((3,), limit)).bits_pn.numpy()
        for query in range(3):
            flipped += np.unpackbits(seen[image, query] ^ expected[query]).sum()
            total += np.unpackbits(expected[query]).sum()
    assert total > 1000
    assert flipped <= 5  # pixels on a threshold, or that two prompts tie for


@pytest.mark.parametrize("only", [None, "found"])
def test_images_encoded_before_give_the_same_bytes(small, only):
    views = Views(tiles="auto", overlap=0.5, whole=True, only=only, floor=None if only is None else 0.4)
    images = _images(2, 1, 3, 2, 1, 1, views=views)
    engine = _engine(small, views, {"heat": 16})
    prompts, thresholds = engine.embed(_conditionals(small.config.projection_dim)), np.zeros(QUERIES, np.float32)
    once = list(engine.segment(images, prompts, thresholds))
    again = list(engine.segment(engine.encode(images), prompts, thresholds))
    assert {block.grid[0] // SIDE for block in once} == {1, 2, 3}
    for one, other in zip(once, again, strict=True):
        for name in ("image_index_p", "query_index_p", "bits_pn", "max_logit_p", "probability_sum_p"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_array_equal(one.optional["heat"], other.optional["heat"])


def _counted(monkeypatch):
    """Images encoded and rows decoded from here on."""
    counts = {"encoded": 0, "decoded": 0}
    encode, logits = Clipseg.encode, Clipseg.logits

    def counting_encode(self, pixels_bhwc):
        counts["encoded"] += len(pixels_bhwc)
        return encode(self, pixels_bhwc)

    def counting_logits(self, features, rows):
        counts["decoded"] += len(rows.image_index_p)
        return logits(self, features, rows)

    monkeypatch.setattr(Clipseg, "encode", counting_encode)
    monkeypatch.setattr(Clipseg, "logits", counting_logits)
    return counts


@pytest.mark.parametrize("encoded_before", [False, True])
def test_only_what_the_whole_image_finds_is_decoded_in_tiles(small, monkeypatch, encoded_before):
    views = Views(tiles=2, overlap=0.5, whole=True)
    images = _images(2, 2, 1, views=views)
    conditionals = _conditionals(small.config.projection_dim)
    whole = [_transformers(small, images.whole_bhwc[number], conditionals) for number in range(2)]
    highest = np.array([each.max((1, 2)) for each in whole])
    everything = _engine(small, views)
    full = _maps(everything.segment(images, everything.embed(conditionals), EVERYWHERE, want_logits=True))
    for floor, found in ((highest.min() - 1, 10), (np.sort(highest[1])[2:4].mean(), None), (highest.max() + 1, 0)):
        engine = _engine(small, replace(views, only="found", floor=1 / (1 + np.exp(-float(floor)))))
        above = highest > floor
        assert above.sum() == found or (found is None and 0 < above.sum() < 10)
        prompts = engine.embed(conditionals)
        counts = _counted(monkeypatch)
        seen = engine.encode(images) if encoded_before else images
        maps = _maps(engine.segment(seen, prompts, EVERYWHERE, want_logits=True))
        assert counts["encoded"] == 3 + 9 * above.any(1).sum()
        assert counts["decoded"] == 3 * QUERIES + 9 * above.sum()
        monkeypatch.undo()
        for number in range(2):
            for query in range(QUERIES):
                plain = _bilinear(whole[number][query], 2 * SIDE)
                expected = full[number, query] if above[number, query] else plain
                assert np.abs(maps[number, query] - expected).max() <= 2e-5 * max(1.0, expected.std())


def test_only_what_is_present_is_decoded_in_tiles(small):
    views = Views(tiles=2, overlap=0.5, whole=True)
    images, optional = _images(2, views=views), {"presence": True}
    conditionals = _conditionals(small.config.projection_dim)
    engine = _engine(small, views, optional)
    prompts = engine.embed(conditionals)
    full = _maps(engine.segment(images, prompts, EVERYWHERE, want_logits=True))
    (presence,) = _presence(engine.segment(images, prompts, EVERYWHERE)).values()
    floor = float(np.median(presence))
    engine = _engine(small, replace(views, only="present", floor=floor), optional)
    maps = _maps(engine.segment(images, prompts, EVERYWHERE, want_logits=True))
    same = [np.allclose(maps[0, query], full[0, query], atol=1e-5) for query in range(QUERIES)]
    assert same == (presence > floor).tolist()
    assert 0 < sum(same) < QUERIES


def _presence(blocks):
    """{image: float32 [q]}."""
    found = {}
    for block in blocks:
        for row, image in enumerate(block.image_index_p.tolist()):
            found.setdefault(image, np.zeros(QUERIES, np.float32))
            found[image][block.query_index_p[row]] = block.optional["presence"][row]
    return found


def test_members_of_a_contest_are_decoded_alike(small):
    views = Views(tiles=2, overlap=0.5, whole=True)
    images = _images(2, views=views)
    conditionals = _conditionals(small.config.projection_dim)
    highest = _transformers(small, images.whole_bhwc[0], conditionals)[:3].max((1, 2))
    contest = Contest(
        prompts=(0, 1, 2),
        outputs=tuple(Output(query=query, logits=query, group=(0, 1, 2), weights=(1, 1, 1)) for query in range(3)),
    )
    competition, thresholds = Competition(contests=(contest,), alone=(-1, -1, -1)), EVERYWHERE[:3]

    def decided(views):
        engine = _engine(small, views)
        (block,) = engine.segment(
            images, engine.embed(conditionals), thresholds, competition=competition, want_logits=True
        )
        return block.met[0].logits_mwh

    every = decided(views)
    for floor, alike in ((np.sort(highest)[1:].mean(), True), (highest.max() + 1, False)):
        found = decided(replace(views, only="found", floor=1 / (1 + np.exp(-float(floor)))))
        assert np.allclose(found, every, atol=1e-5) == alike


def test_merged_logits_are_refined_by_the_larger_image(small):
    views, guided = Views(tiles=2, overlap=0.5, whole=True), GuidedFilter(8, 3e-4)
    images = _images(2, 1, 2, views=views)
    conditionals = _conditionals(small.config.projection_dim)
    plain, model = _engine(small, views), make_model(small, batch=2, decode_chunk=4)
    refining = Engine(model, None, guided, views)
    prompts = plain.embed(conditionals)
    merged = _maps(plain.segment(images, prompts, EVERYWHERE, want_logits=True))
    found = _maps(refining.segment(images, prompts, EVERYWHERE, want_logits=True))
    features = refining.encode(images)
    again = _maps(refining.segment(features, prompts, EVERYWHERE, want_logits=True))
    changed = 0
    for number in range(3):
        filtered = guided.of_image(torch.from_numpy(images.finest(number).copy()))
        logits_qwh = torch.from_numpy(np.stack([merged[number, query].T for query in range(QUERIES)]))
        expected_qwh = filtered(logits_qwh.contiguous(), torch.from_numpy(EVERYWHERE)).numpy()
        for query in range(QUERIES):
            np.testing.assert_allclose(found[number, query], expected_qwh[query].T, atol=1e-4)
            np.testing.assert_allclose(again[number, query], expected_qwh[query].T, atol=1e-4)
            changed += (np.abs(found[number, query] - merged[number, query]) > 1e-2).sum()
    assert changed > 1000


def test_groups_of_refined_tiles_share_no_pixel(small):
    views = Views(tiles=2, overlap=0.5, whole=True)
    images = _images(2, views=views)
    engine = Engine(make_model(small, batch=2, decode_chunk=3), None, GuidedFilter(8, 3e-4), views)
    contest = Contest(
        prompts=(0, 1, 2),
        outputs=tuple(Output(query=query, logits=query, group=(0, 1, 2), weights=(1, 1, 1)) for query in range(3)),
    )
    competition = Competition(contests=(contest,), alone=(-1, -1, -1))
    prompts = engine.embed(_conditionals(small.config.projection_dim))
    (block,) = engine.segment(images, prompts, EVERYWHERE[:3], competition=competition)
    inside_pn = np.unpackbits(block.bits_pn, axis=1, bitorder="little")
    assert block.grid == (2 * SIDE, 2 * SIDE)
    assert (inside_pn.sum(0) == 1).all()


def test_memory_for_maps_is_bounded_whatever_is_asked(small, monkeypatch):
    from clipseg_ray.model import viewing

    views = Views(tiles=2, overlap=0.5, whole=True)
    images = _images(2, views=views)
    engine = _engine(small, views, decode_chunk=64)
    prompts = engine.embed(_conditionals(small.config.projection_dim))
    together = _maps(engine.segment(images, prompts, EVERYWHERE, want_logits=True))
    monkeypatch.setattr(viewing, "_MAPS_BYTES", 2 * 4 * (2 * SIDE) ** 2)
    blocks = list(engine.segment(images, prompts, EVERYWHERE, want_logits=True))
    assert [len(block.query_index_p) for block in blocks] == [2, 2, 1]
    for pair, logits_hw in _maps(blocks).items():
        np.testing.assert_allclose(logits_hw, together[pair], atol=1e-5)


def test_logits_that_are_not_finite_come_through(small):
    views = Views(tiles=2, overlap=0.5, whole=True)
    engine = _engine(small, views)
    conditionals = _conditionals(small.config.projection_dim)
    conditionals[1] = np.nan
    blocks = list(engine.segment(_images(2, views=views), engine.embed(conditionals), np.zeros(QUERIES)))
    highest = {
        query: value
        for block in blocks
        for query, value in zip(block.query_index_p.tolist(), block.max_logit_p, strict=True)
    }
    assert [query for query, value in highest.items() if np.isnan(value)] == [1]
