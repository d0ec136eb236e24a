"""Contests on a simulated GPU: streams that lag, graphs that write over what they gave, memory that runs short."""

import numpy as np
import pytest

from clipseg_ray.masks.competition import Competition, Contest, Output
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from tests.model.simulated_cuda import SimulatedCuda

pytestmark = pytest.mark.usefixtures("without_triton")

GROUP = (3, 0, 1, 2, 4)
COMPETITION = Competition(
    contests=(
        Contest(
            prompts=(0, 2, 3, 5, 6),
            outputs=tuple(
                Output(query=1 + k, logits=k, group=GROUP, weights=(3.0, 1.0, 1.0, 1.0, 1.0)) for k in range(4)
            ),
        ),
        Contest(
            prompts=(1, 4),
            outputs=(
                Output(query=5, logits=0, rivals=(1,)),
                Output(query=6, logits=("and", (1, ("not", (("or", (0, 1)),))))),
            ),
        ),
        Contest(prompts=(0, 6), outputs=(Output(query=7, logits=1, group=(0, 1), weights=(1.0, 1.0)),)),
    ),
    alone=(4, *(-1,) * 7),
)


def engine_of(small, device, chunk=4):
    optional = {"presence": True, "heat": 12}
    return Engine(make_model(small, device=device, batch=2, decode_chunk=chunk, columns=optional), optional)


def answers(engine, images=3):
    """{(image, query): (bits, numbers)} and {(image, contest): logits} for contests that may have pixels."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (images, 48, 48, 3), np.uint8)
    conditionals = rng.standard_normal((7, 64)).astype(np.float32)
    rows, logits = {}, {}
    limits = np.linspace(-2, -1, 8)
    for block in engine.segment(pixels, engine.embed(conditionals), limits, competition=COMPETITION, want_logits=True):
        for p, pair in enumerate(zip(block.image_index_p.tolist(), block.query_index_p.tolist(), strict=True)):
            numbers = [block.max_logit_p[p], block.probability_sum_p[p], block.optional["presence"][p]]
            rows[pair] = (block.bits_pn[p].copy(), np.array(numbers, np.float64), block.optional["heat"][p].copy())
        for met in block.met:
            logits[int(block.image_index_p[met.start]), COMPETITION.contests.index(met.contest)] = met.logits_mwh
    return rows, logits


@pytest.mark.parametrize("lag", ["all", ("default",), ("stream 1", "stream 2")])
def test_masks_are_those_of_a_cpu(small, monkeypatch, lag):
    expected, their_logits = answers(engine_of(small, "cpu"))
    with SimulatedCuda(monkeypatch, lag):
        rows, logits = answers(engine_of(small, "cuda"))
    assert_same(rows, expected)
    assert logits.keys() == their_logits.keys()
    assert any(own is not None for own in logits.values())
    for key, own in logits.items():
        assert (own is None) == (their_logits[key] is None)
        if own is not None:
            np.testing.assert_allclose(own, their_logits[key], atol=1e-4)


def assert_same(rows, expected):
    assert rows.keys() == expected.keys() == {(image, query) for image in range(3) for query in range(8)}
    for pair, (bits, numbers, heat) in rows.items():
        other = expected[pair]
        assert np.unpackbits(bits ^ other[0]).sum() <= 2, pair
        assert (np.abs(numbers - other[1]) <= (1e-4, 1, 1e-5)).all(), pair
        assert np.abs(heat.astype(int) - other[2]).max() <= 60, pair  # a pixel lost to a tie


@pytest.mark.parametrize("share", [0.4, 0.7])
def test_memory_that_runs_short_loses_no_contest(small, monkeypatch, share):
    expected, _ = answers(engine_of(small, "cpu"))
    with SimulatedCuda(monkeypatch) as cuda:
        engine = engine_of(small, "cuda", chunk=16)
        ready = cuda.used
        answers(engine)
        needed = cuda.peak - ready
    with SimulatedCuda(monkeypatch) as cuda:
        engine = engine_of(small, "cuda", chunk=16)
        cuda.capacity = ready + int(share * needed)
        rows, _ = answers(engine)
        assert cuda.peak <= cuda.capacity
    assert engine.decode_chunk < 16
    assert_same(rows, expected)
