"""What ``jobs/benchmark.py finer`` counts is what ``evaluate`` counts, and its intervals hold what was counted."""

from functools import reduce

import numpy as np
import pytest

from benchmarks.finer import _Truth, intervals, rows_of
from clipseg_ray.demo.scenes import scene
from clipseg_ray.evaluation.answers import Answers
from clipseg_ray.evaluation.metrics import AskedQuery
from clipseg_ray.evaluation.tally import Overlap, Tally


@pytest.mark.parametrize("seed", [20_000_000, 20_000_001])
def test_counts_are_those_of_evaluate(seed):
    shown = scene(seed, 96)
    rng = np.random.default_rng(seed)
    # Masks that are partly right: the truth, moved, with noise.
    masks_qwh = np.stack([np.roll(truth.mask_hw.T, 3, 0) ^ (rng.random((96, 96)) < 0.02) for truth in shown.truth])
    masks_qwh[0] = False
    answers = Answers()
    for truth, mask_wh in zip(shown.truth, masks_qwh, strict=True):
        label_wh = np.ascontiguousarray(truth.mask_hw.T)
        answers.update(AskedQuery(truth.kind, truth.query_id), mask_wh, label_wh, None, 1.0, label_wh.size)
    tally = reduce(Tally.__add__, (answer.present for answer in answers.answers.values()))
    whole = Overlap(tally.true_positive, tally.false_positive, tally.false_negative)
    parts = [whole, tally.border, tally.border_diagonal, tally.small, tally.medium, tally.large]
    expected = [[each.both, each.mask, each.truth] for each in parts]
    assert _Truth(shown).counts(masks_qwh).tolist() == expected


def test_intervals_leave_out_what_no_scene_has_and_hold_the_rest():
    rng = np.random.default_rng(0)
    counted = [{"one": rng.integers(1, 100, (6, 3))} for _ in range(20)]
    for own in counted:
        own["one"][5] = 0
    counted[0]["one"][3] = 7
    for own in counted[1:]:
        own["one"][3] = 0  # of one scene alone: resamples without it have nothing to say
    (measured,) = intervals(counted).values()
    assert list(measured) == ["IoU", "border", "border_diagonal", "small", "medium"]
    total_pk = sum(own["one"] for own in counted)
    for (point, low, high), (both, mask, truth) in zip(measured.values(), total_pk[:5], strict=True):
        assert point == pytest.approx(both / (both + mask + truth))
        assert low <= point <= high
    assert measured["small"] == pytest.approx((1 / 3,) * 3)
    assert measured["IoU"][1] < measured["IoU"][0] < measured["IoU"][2]
    assert rows_of({"one": measured})[1][-1] == "none"
