"""What verdicts say of all images: weighted counts by brute force, and intervals that hold what they promise."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg_ray.verdicts.asking import STRATA, order, strata_of
from clipseg_ray.verdicts.estimates import Estimates, estimate

PEOPLE = [f"{n}.jpg" for n in range(600)]


def drawn(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and whether the thing is there: of one image in six, by scores that overlap and are too sure."""
    there_n = rng.random(n) < 1 / 6
    logit_n = np.where(there_n, rng.normal(2.5, 1.5, n), rng.normal(-1.5, 2.0, n))
    return 1 / (1 + np.exp(-logit_n)), there_n


def asked(scores_n: np.ndarray, there_n: np.ndarray, verdicts: int, seed: str = "") -> dict[int, bool]:
    return {place: bool(there_n[place]) for place in order(scores_n, PEOPLE[: len(scores_n)], seed)[:verdicts]}


def test_strata_halve_what_is_left_from_below() -> None:
    stratum_n = strata_of(np.linspace(0, 1, 256))
    assert np.bincount(stratum_n).tolist() == [8, 8, 16, 32, 64, 128]
    assert (np.diff(stratum_n) <= 0).all()  # scores rise, strata fall
    for few in range(1, 40):
        stratum_n = strata_of(np.random.default_rng(few).random(few))
        assert set(stratum_n.tolist()) == set(range(stratum_n.max() + 1))
        assert stratum_n.max() < STRATA


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.text(max_size=3))
def test_every_image_is_asked_about_once_and_strata_in_turns(scores: list[float], seed: str) -> None:
    scores_n = np.array(scores)
    asked_n = order(scores_n, PEOPLE[: len(scores)], seed)
    assert sorted(asked_n) == list(range(len(scores)))
    stratum_n = strata_of(scores_n)
    for stop in range(1, len(scores) + 1):
        counts = np.bincount(stratum_n[asked_n[:stop]], minlength=stratum_n.max() + 1)
        left = np.bincount(stratum_n) - counts
        assert all(counts[s] >= counts.max() - 1 for s in range(len(counts)) if left[s])


def test_within_a_stratum_chance_alone_decides_and_a_restart_goes_on() -> None:
    scores_n = np.linspace(0, 1, 128)
    first = order(scores_n, PEOPLE[:128], "mug")
    assert first == order(scores_n, PEOPLE[:128], "mug") != order(scores_n, PEOPLE[:128], "cup")
    lowest = np.flatnonzero(strata_of(scores_n) == strata_of(scores_n).max())
    seen = defaultdict(int)
    for seed in range(400):
        asked_n = order(scores_n, PEOPLE[:128], str(seed))
        seen[next(place for place in asked_n if place in set(lowest.tolist()))] += 1
    assert len(seen) > 60  # of 64, each first in one of 64
    assert max(seen.values()) < 25


def by_brute_force(scores_n: np.ndarray, verdicts: dict[int, bool], threshold: float) -> tuple[float, float, int]:
    """Every verdict stands for its stratum's images by as many copies as it has weight."""
    stratum_n = strata_of(scores_n)
    with_verdict = sorted({int(stratum_n[place]) for place in verdicts})
    joined = [max((s for s in with_verdict if s <= stratum), default=with_verdict[0]) for stratum in stratum_n.tolist()]
    found = right = found_right = 0.0
    for place, there in verdicts.items():
        images = sum(stratum == joined[place] for stratum in joined)
        weight = images / sum(joined[other] == joined[place] for other in verdicts)
        found += weight * (scores_n[place] > threshold)
        right += weight * there
        found_right += weight * there * (scores_n[place] > threshold)
    return found_right / found, found_right / right, int((scores_n > threshold).sum())


@given(st.integers(0, 10_000), st.integers(8, 90), st.integers(4, 60), st.booleans())
@settings(deadline=None, max_examples=60)
def test_shares_are_those_of_counts_by_brute_force(seed: int, images: int, verdicts: int, coarse: bool) -> None:
    rng = np.random.default_rng(seed)
    scores_n, there_n = drawn(rng, images)
    if coarse:  # scores that are equal
        scores_n = np.round(scores_n, 1)
    said = asked(scores_n, there_n, verdicts)
    found = estimate(scores_n, said)
    if len(set(said.values())) < 2:
        assert found is None
        return
    assert found is not None
    assert (found.verdicts, found.there) == (len(said), sum(said.values()))
    for t, threshold in enumerate(found.threshold_t):
        right, recall, number = by_brute_force(scores_n, said, float(threshold))
        assert found.right_t[t] == pytest.approx(right)
        assert found.found_t[t] == pytest.approx(recall)
        assert found.images_t[t] == number
        assert found.right_bounds_tb[t, 0] <= found.right_t[t] <= found.right_bounds_tb[t, 1]
        assert found.found_bounds_tb[t, 0] <= found.found_t[t] <= found.found_bounds_tb[t, 1]
    # Each threshold tells others of the asked images apart than the one before it.
    cuts = [(scores_n[sorted(said)] > threshold).tolist() for threshold in found.threshold_t]
    assert len({tuple(cut) for cut in cuts}) == len(cuts)


def test_with_a_verdict_on_every_image_the_shares_are_exact() -> None:
    scores_n, there_n = drawn(np.random.default_rng(3), 300)
    found = estimate(scores_n, asked(scores_n, there_n, 300))
    assert found is not None
    for t in range(0, len(found.threshold_t), 17):
        above_n = scores_n > found.threshold_t[t]
        assert found.right_t[t] == pytest.approx(there_n[above_n].mean())
        assert found.found_t[t] == pytest.approx(above_n[there_n].mean())
    best = found.balanced()
    harmonic_t = 2 * found.right_t * found.found_t / np.maximum(found.right_t + found.found_t, 1e-300)
    assert best.threshold == found.threshold_t[np.flatnonzero(harmonic_t == harmonic_t.max())[-1]]
    assert best.images == (scores_n > best.threshold).sum()
    assert best.low <= best.threshold <= best.high


def test_what_was_wished_is_proposed_at_the_lowest_threshold_that_has_it_or_not_at_all() -> None:
    scores_n, there_n = drawn(np.random.default_rng(5), 400)
    found = estimate(scores_n, asked(scores_n, there_n, 400))
    assert found is not None
    proposal = found.with_precision(0.8)
    assert proposal is not None
    assert proposal.threshold == found.threshold_t[np.flatnonzero(found.right_t >= 0.8)[0]]
    assert found.with_precision(0.999999) is None or found.right_t.max() >= 0.999999


def test_scores_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="not between 0 and 1"):
        estimate(np.array([0.2, np.nan]), {0: True, 1: False})
    with pytest.raises(IndexError, match="image 7 of 2"):
        estimate(np.array([0.2, 0.3]), {0: True, 7: False})
    with pytest.raises(ValueError, match="no numbers"):
        order(np.array([0.2, np.nan]), ["a", "b"], "")


def test_intervals_cover_what_they_say_and_plain_weights_are_unbiased() -> None:
    """Two hundred samples of a world whose shares are known, at thresholds that nothing was looked at to choose."""
    world = drawn(np.random.default_rng(0), 200_000)
    thresholds = (0.3, 0.7)
    truth = {t: (world[1][world[0] > t].mean(), (world[0][world[1]] > t).mean()) for t in thresholds}
    rng = np.random.default_rng(1)
    covered, errors, widths, chosen = defaultdict(list), defaultdict(list), defaultdict(list), []
    for repeat in range(200):
        scores_n, there_n = drawn(rng, 256)
        found = estimate(scores_n, asked(scores_n, there_n, 80, str(repeat)))
        assert found is not None
        for t in thresholds:
            at = int((found.threshold_t <= t).sum()) - 1
            for name, value_t, bounds_tb, true in (
                ("right", found.right_t, found.right_bounds_tb, truth[t][0]),
                ("found", found.found_t, found.found_bounds_tb, truth[t][1]),
            ):
                low, high = bounds_tb[at]
                covered[name].append(low <= true <= high)
                widths[name].append(high - low)
                errors[name].append(value_t[at] - true)
        chosen.append(_covers(found, world))
    for name in ("right", "found"):
        assert 0.91 <= np.mean(covered[name]) <= 0.995, (name, np.mean(covered[name]))
        assert abs(np.mean(errors[name])) < 0.03, (name, np.mean(errors[name]))
        assert np.mean(widths[name]) < 0.5
    assert np.mean(chosen) > 0.88, np.mean(chosen)


def _covers(found: Estimates, world: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether the interval of the balanced proposal holds the share of right images in the world."""
    proposal = found.balanced()
    true = world[1][world[0] > proposal.threshold].mean()
    return proposal.right.low <= true <= proposal.right.high
