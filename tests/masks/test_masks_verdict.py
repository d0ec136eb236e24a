"""Who takes which pixel: bit for bit what the definitions say, on either path."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg_ray.masks.competition import Contest, Output, affirmed
from clipseg_ray.masks.log_sigmoid import log_sigmoid
from clipseg_ray.masks.verdict import LOST, Verdict, exclude_on_cpu, exclude_with_torch
from tests.masks import contests

CPU = torch.device("cpu")


def logits_of(contest, seed, steps, pixels=193):
    """Logits of few values where `steps`, so that they tie; else of any."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, (len(contest.prompts), pixels))
    return (logits.round() if steps else logits).astype(np.float32)


def same_bits(ours, theirs):
    """But for the sign of zero, which of two a minimum keeps is nobody's business."""
    ours, theirs = (np.asarray(maps, np.float32) + np.float32(0) for maps in (ours, theirs))
    return (ours.view(np.int32) == theirs.view(np.int32)).all()


@given(contests.contests(), st.integers(0, 10**6), st.booleans())
@settings(max_examples=120, deadline=None)
def test_maps_are_those_of_the_definition_bit_for_bit(contest, seed, steps):
    logits_mn = logits_of(contest, seed, steps)
    ours = Verdict(contest, CPU).maps(torch.from_numpy(logits_mn))
    rounded = lambda x: log_sigmoid(torch.from_numpy(x)).numpy()  # noqa: E731 - held against float64 below
    assert same_bits(ours, contests.decided(contest, logits_mn, rounded))


@given(contests.contests(), st.integers(0, 10**6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_gpus_path_gives_the_same_bits(contest, seed, steps):
    logits_mn = torch.from_numpy(logits_of(contest, seed, steps))
    verdict = Verdict(contest, CPU)
    for group in verdict.groups:
        found = [torch.zeros(len(contest.outputs), logits_mn.shape[1]) for _ in range(2)]
        exclude_on_cpu(logits_mn, group, found[0])
        exclude_with_torch(logits_mn, group, found[1])
        assert same_bits(*found)


@given(contests.contests(), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_members_of_a_group_share_no_pixel_and_leave_none(contest, seed):
    logits_mn = torch.from_numpy(logits_of(contest, seed, True))
    maps_kn = Verdict(contest, CPU).maps(logits_mn)
    groups = {}
    for k, output in enumerate(contest.outputs):
        if output.group:  # one that is drawn twice is one, its members written once
            groups.setdefault((output.group, output.weights), {})[output.logits] = k
    for (group, _), written in groups.items():
        takers = (maps_kn[list(written.values())] != LOST).sum(0)
        assert takers.max() <= 1
        if len(written) == len(group):
            assert takers.min() == 1


def test_log_sigmoid_is_exact_to_two_ulp_and_one_on_both_paths():
    logits = torch.cat([torch.linspace(-80, 80, 40001), torch.tensor([0.0, -0.0, 1e-30, -300.0, 300.0, 88.0])])
    exact = contests.log_sigmoid(logits.numpy())
    ours = log_sigmoid(logits).numpy()
    near = np.abs(logits.numpy()) <= 80
    assert (np.abs(ours - exact)[near] <= 2 * np.spacing(np.abs(exact).astype(np.float32))[near]).all()
    assert ours[-3] == -300
    assert 0 > ours[-2] > -1e-37
    # In a group of two the one that is always the same shows what the other weighs.
    group = Contest(prompts=(0, 1), outputs=(Output(query=0, logits=0, group=(0, 1), weights=(1.0, 3.0)),))
    shifted = torch.stack([logits, torch.full_like(logits, 0.5)])
    wins = Verdict(group, CPU).maps(shifted)[0] != LOST
    limit = log_sigmoid(torch.tensor([0.5])) + np.float32(np.log(3))
    assert torch.equal(wins, log_sigmoid(logits) >= limit)


def test_weights_decide_by_probability_and_the_map_keeps_the_logit():
    group = (0, 1)
    outputs = tuple(Output(query=k, logits=k, group=group, weights=(3.0, 1.0)) for k in group)
    logits_mn = torch.tensor([[-2.0, -0.5, 0.0, 9.0], [-0.5, 2.0, 20.0, 9.0]])
    # 3 · σ(-2) = 0.36 < σ(-0.5) = 0.38; 3 · σ(-0.5) = 1.13 and 3 · σ(0) = 1.5 are above any probability.
    expected = torch.tensor([[LOST, -0.5, 0.0, 9.0], [-0.5, LOST, LOST, LOST]])
    assert torch.equal(Verdict(Contest(prompts=(4, 9), outputs=outputs), CPU).maps(logits_mn), expected)


def test_ties_go_to_the_row_that_comes_first_and_to_nobody_who_is_suppressed():
    logits_mn = torch.tensor([[1.0, 2.0], [1.0, 3.0], [1.0, 0.0]])
    group = (2, 0, 1)
    outputs = (
        *(Output(query=k, logits=k, group=group, weights=(1.0,) * 3) for k in range(3)),
        Output(query=3, logits=0, rivals=(1,)),
        Output(query=4, logits=1, rivals=(0,)),
    )
    maps = Verdict(Contest(prompts=(0, 1, 2), outputs=outputs), CPU).maps(logits_mn)
    expected = [[LOST, LOST], [LOST, 3.0], [1.0, LOST], [LOST, LOST], [LOST, 3.0]]
    assert torch.equal(maps, torch.tensor(expected))


@pytest.mark.parametrize(
    ("expression", "left"),
    [
        (("and", (0, ("not", (("or", (1, 2)),)))), 0),
        (("or", (0, ("and", (1, ("not", (2,)))))), ("or", (0, 1))),
        (("not", (("not", (1,)),)), 1),
        (("not", (("and", (("not", (0,)), ("not", (1,)))),)), ("or", (0, 1))),
        (("not", (1,)), None),
    ],
)
def test_presence_of_an_expression_is_of_what_it_affirms(expression, left):
    assert affirmed(expression) == left
    contest = Contest(prompts=(0, 1, 2), outputs=(Output(query=0, logits=expression),))
    cosines = torch.tensor([0.2, 0.3, 0.25])
    expected = contests.value(expression if left is None else left, cosines.numpy())
    assert Verdict(contest, CPU).presence(cosines).numpy() == pytest.approx(np.array([expected]))
