"""Queries that compete, from the engine: what its own logits give by the definitions, bit for bit."""

import logging

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.random_checkpoint import write_checkpoint
from clipseg_ray.masks.competition import Competition, Contest, Output
from clipseg_ray.masks.heat import quantised
from clipseg_ray.masks.log_sigmoid import log_sigmoid
from clipseg_ray.masks.threshold import pack
from clipseg_ray.model.embedding import normalise
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.model.program import Program
from tests.masks.contests import contests, decided
from tests.model.peak_memory import peak_kib
from tests.reference import model_of

CHUNK = 4


@pytest.fixture(scope="module")
def inputs(demo):
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (3, 96, 96, 3), np.uint8)
    return pixels, rng.standard_normal((9, demo.config.projection_dim)).astype(np.float32)


def engine_of(demo, optional=None, chunk=CHUNK):
    return Engine(make_model(demo, batch=2, decode_chunk=chunk, columns=optional or ()), optional)


def group_of(prompts, first=0, weights=None):
    """One contest, a group of these prompts, all written as queries from `first` on."""
    members = tuple(range(len(prompts)))
    weights = weights or (1.0,) * len(prompts)
    outputs = tuple(Output(query=first + k, logits=k, group=members, weights=weights) for k in members)
    return Contest(prompts=tuple(prompts), outputs=outputs)


def rows_of(blocks):
    """{(image, query): (bits, max, sum, optional)}, each once."""
    rows = {}
    for block in blocks:
        for p, pair in enumerate(zip(block.image_index_p.tolist(), block.query_index_p.tolist(), strict=True)):
            assert pair not in rows
            further = {name: column[p] for name, column in block.optional.items()}
            rows[pair] = (block.bits_pn[p], block.max_logit_p[p], block.probability_sum_p[p], further)
    return rows


def same(ours, theirs):
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(ours[:3], theirs[:3], strict=True))


def own_logits(engine, pixels, prompts, places):
    """float32 [image, place, w, h], decoded in the engine's own chunks: two images at a time, place after place."""
    found = []
    for start in range(0, len(pixels), 2):
        features = engine.encode(pixels[start : start + 2])
        images, places_r = np.repeat(np.arange(len(features)), len(places)), np.tile(places, len(features))
        chunks = [chunk.clone() for chunk in engine.decode_pairs(features, images, prompts, places_r)]
        found.append(torch.cat(chunks).unflatten(0, (len(features), len(places))))
    return torch.cat(found).numpy()


@given(st.lists(contests(5), min_size=1, max_size=3), st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_masks_are_what_numpy_makes_of_the_engines_logits(demo, inputs, drawn, data):
    pixels, conditionals = inputs
    chosen, first = [], 0
    for contest in drawn:
        places = data.draw(st.permutations(range(9)))[: len(contest.prompts)]
        outputs = tuple(Output(**vars(output) | {"query": first + output.query}) for output in contest.outputs)
        chosen.append(Contest(prompts=tuple(sorted(places)), outputs=outputs))
        first += len(outputs)
    limits = np.linspace(-1, 1, first).astype(np.float32)
    engine = engine_of(demo)
    prompts = engine.embed(conditionals)
    rows = rows_of(engine.segment(pixels, prompts, limits, competition=Competition(tuple(chosen), (-1,) * first)))
    assert sorted(rows) == [(image, query) for image in range(3) for query in range(first)]
    places = [place for contest in chosen for place in contest.prompts]
    logits = own_logits(engine, pixels, prompts, places)
    start = 0
    for contest in chosen:
        own = logits[:, start : start + len(contest.prompts)]
        start += len(contest.prompts)
        for image in range(3):
            maps = decided(contest, own[image], lambda x: log_sigmoid(torch.from_numpy(x)).numpy())
            query_k = [output.query for output in contest.outputs]
            packed = pack(torch.from_numpy(maps), torch.from_numpy(limits[query_k]))
            for k, query in enumerate(query_k):
                assert same(rows[image, query], [part[k].numpy() for part in packed])


def test_who_competes_with_nobody_has_the_bytes_it_has_alone(demo, inputs):
    pixels, conditionals = inputs
    engine = engine_of(demo)
    alone = rows_of(engine.segment(pixels, engine.embed(conditionals[[1, 4, 8]]), np.zeros(3)))
    competition = Competition((group_of((0, 2, 3, 4, 5), 3),), (1, 4, 8, *(-1,) * 5))
    rows = rows_of(engine.segment(pixels, engine.embed(conditionals), np.zeros(8), competition=competition))
    assert len(rows) == 24
    assert all(same(rows[pair], alone[pair]) for pair in alone)


def test_a_group_of_any_size_is_disjoint_and_independent_of_the_chunk(demo, inputs):
    pixels, conditionals = inputs
    found = []
    for chunk in (2, 4, 32):
        engine = engine_of(demo, chunk=chunk)
        competition = Competition((group_of(range(9)),), (-1,) * 9)
        found.append(
            rows_of(engine.segment(pixels, engine.embed(conditionals), np.full(9, -30.0), competition=competition))
        )
        covered = sum(np.unpackbits(found[-1][0, query][0]).astype(int) for query in range(9))
        assert (covered == 1).all()
    for other in found[1:]:
        differing = sum(np.unpackbits(found[0][pair][0] ^ other[pair][0]).sum() for pair in other)
        assert differing <= 8  # ties of an ulp


def test_a_query_that_takes_nothing_has_no_probability(demo, inputs):
    pixels, conditionals = inputs
    twin = conditionals[[0, 0]]
    engine = engine_of(demo, {"heat": 12})
    competition = Competition((group_of((0, 1)),), (-1, -1))
    rows = rows_of(engine.segment(pixels, engine.embed(twin), np.full(2, -30.0), competition=competition))
    for image in range(3):
        bits, highest, total, further = rows[image, 1]
        assert not bits.any()
        assert np.isfinite(highest)
        assert 1 / (1 + np.exp(-np.float64(max(highest, -700)))) < 1e-300
        assert total == 0
        assert not further["heat"].any()
        assert np.unpackbits(rows[image, 0][0]).all()


def test_heat_is_of_the_map_and_presence_of_the_prompts(demo, inputs):
    pixels, conditionals = inputs
    engine = engine_of(demo, {"presence": True, "heat": 24})
    prompts = engine.embed(conditionals)
    alone = rows_of(engine.segment(pixels, prompts, np.zeros(9)))
    mixed = ("and", (2, ("not", (("or", (0, 1)),))))
    contest = Contest(
        prompts=(1, 5, 7),
        outputs=(Output(query=0, logits=0, rivals=(1,)), Output(query=1, logits=mixed), Output(query=2, logits=2)),
    )
    rows = rows_of(engine.segment(pixels, prompts, np.zeros(3), competition=Competition((contest,), (-1,) * 3)))
    logits = own_logits(engine, pixels, prompts, contest.prompts)
    for image in range(3):
        presence = [rows[image, query][3]["presence"] for query in range(3)]
        assert presence == [pytest.approx(alone[image, prompt][3]["presence"], abs=1e-6) for prompt in (1, 7, 7)]
        maps = torch.from_numpy(decided(contest, logits[image]))
        assert np.array_equal([rows[image, query][3]["heat"] for query in range(3)], quantised(maps, 24).numpy())


def test_wanted_logits_are_those_of_the_prompts_where_a_query_may_have_pixels(demo, inputs):
    pixels, conditionals = inputs
    engine = engine_of(demo)
    prompts = engine.embed(conditionals)
    chosen = (group_of((0, 3, 4, 6, 8)), group_of((1, 2), 5))
    limits = np.array([0.0] * 5 + [1e6] * 2)
    blocks = engine.segment(pixels, prompts, limits, competition=Competition(chosen, (-1,) * 7), want_logits=True)
    logits = own_logits(engine, pixels, prompts, (0, 3, 4, 6, 8, 1, 2))
    met = [(int(block.image_index_p[each.start]), each) for block in blocks for each in block.met]
    assert [(image, chosen.index(each.contest)) for image, each in met] == [(i, c) for i in range(3) for c in range(2)]
    for image, each in met:
        if each.contest is chosen[0]:
            assert np.array_equal(each.logits_mwh, logits[image, :5])
        else:
            assert each.logits_mwh is None


def test_a_prompt_that_is_not_finite_voids_its_contests_and_is_named(demo, inputs):
    pixels, conditionals = inputs
    conditionals = conditionals.copy()
    conditionals[2] = np.nan
    engine = engine_of(demo)
    competition = Competition((group_of((0, 1)), group_of((2, 3, 4, 5, 6), 2)), (-1,) * 7)
    blocks = list(engine.segment(pixels, engine.embed(conditionals), np.zeros(7), competition=competition))
    rows = rows_of(blocks)
    assert {pair for pair, row in rows.items() if np.isnan(row[1])} == {(b, q) for b in range(3) for q in range(2, 7)}
    for block in blocks:
        assert block.unsound_prompt == (2 if np.isnan(block.max_logit_p).any() else None)


def test_a_chunk_that_finds_memory_short_is_run_again_without_loss(demo, inputs, monkeypatch, caplog):
    pixels, conditionals = inputs
    engine = engine_of(demo, chunk=8)
    prompts = engine.embed(conditionals)
    competition = Competition((group_of(range(5)), group_of((0, 6, 7, 8), 5)), (-1,) * 9)
    expected = rows_of(engine.segment(pixels, prompts, np.zeros(9), competition=competition))
    original, calls = Program.__call__, []

    def starved(self, *arrays):
        calls.append(len(arrays))
        if len(arrays) > 1 and len(calls) > 3 and len(arrays[1]) > 2:
            raise torch.OutOfMemoryError("pretended")
        return original(self, *arrays)

    monkeypatch.setattr(Program, "__call__", starved)
    with caplog.at_level(logging.WARNING):
        rows = rows_of(engine.segment(pixels, prompts, np.zeros(9), competition=competition))
    assert engine.decode_chunk == 2
    assert rows.keys() == expected.keys()
    assert sum(np.unpackbits(rows[pair][0] ^ expected[pair][0]).sum() for pair in rows) <= 8


def test_pairs_and_a_competition_do_not_go_together(demo, inputs):
    engine = engine_of(demo)
    with pytest.raises(ValueError, match="pairs"):
        list(
            engine.segment(
                inputs[0],
                engine.embed(inputs[1]),
                np.zeros(9),
                (np.array([0]), np.array([0])),
                competition=Competition((), tuple(range(9))),
            )
        )


@torch.inference_mode()
def test_a_group_is_that_of_transformers_but_where_its_logits_all_but_tie(demo, inputs):
    pixels, conditionals = inputs
    pixels_bchw = normalise(torch.from_numpy(pixels), demo.preprocessing)
    theirs = torch.stack(
        [
            model_of(demo)(
                pixel_values=image.expand(9, -1, -1, -1), conditional_embeddings=torch.from_numpy(conditionals)
            ).logits
            for image in pixels_bchw
        ]
    )
    tolerance = 2 * 2e-5 * max(1.0, theirs.std().item())  # what fp32 is held to, for either of two logits
    engine = engine_of(demo)
    competition = Competition((group_of(range(9)),), (-1,) * 9)
    rows = rows_of(engine.segment(pixels, engine.embed(conditionals), np.zeros(9), competition=competition))
    least, greatest = theirs.topk(2, dim=1).values.flip(1).unbind(1)
    clear = ((greatest - least > tolerance) & (greatest.abs() > tolerance)).mT.flatten(1)
    assert clear.float().mean() > 0.99
    winner = theirs.argmax(1)
    for (image, query), (bits, *_) in rows.items():
        expected = ((winner[image] == query) & (greatest[image] > 0)).mT.flatten()
        ours = torch.from_numpy(np.unpackbits(bits, bitorder="little")).bool()
        assert torch.equal(ours[clear[image]], expected[clear[image]])


_MEMORY = """
import resource, sys
import numpy as np, torch
from clipseg_ray.masks.competition import Competition, Contest, Output
from clipseg_ray.model.checkpoint import load
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
torch.set_num_threads(1)
engine = Engine(make_model(load(sys.argv[1]), batch=4, decode_chunk=8))
queries, members = int(sys.argv[2]), tuple(range(60))
prompts = engine.embed(np.random.default_rng(0).standard_normal((queries, 64)).astype(np.float32))
outputs = [[Output(query=s + k, logits=k, group=members, weights=(1.0,) * 60) for k in members]
           for s in range(0, queries, 60)]
contests = tuple(Contest(prompts=tuple(output.query for output in own), outputs=tuple(own)) for own in outputs)
competition = Competition(contests, (-1,) * queries)
blocks = engine.segment(np.zeros((1, 352, 352, 3), np.uint8), prompts, np.zeros(queries), competition=competition)
assert sum(len(block.bits_pn) for block in blocks) == queries
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_is_that_of_one_contest_however_many_there_are(tmp_path):
    write_checkpoint(tmp_path)
    peaks = [peak_kib(_MEMORY, tmp_path, queries) for queries in (60, 300)]
    # The logits of 300 prompts would be 150 MB, and so would the maps.
    assert peaks[1] <= peaks[0] + 60_000
