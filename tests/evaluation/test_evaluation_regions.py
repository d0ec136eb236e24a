"""Borders and sizes: pixels near a border against SciPy's distances, the measures against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from clipseg_ray.evaluation.answers import Answers
from clipseg_ray.evaluation.border import near_border
from clipseg_ray.evaluation.counts import THRESHOLDS
from clipseg_ray.evaluation.metrics import AskedQuery, Metrics


def distances(label_hw: np.ndarray) -> np.ndarray:
    """Of each pixel to the nearest of the other sort; infinite where there is none."""
    if label_hw.all() or not label_hw.any():
        return np.full(label_hw.shape, np.inf)
    return np.where(label_hw, distance_transform_edt(label_hw), distance_transform_edt(~label_hw))


def blobs(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """bool [h, w]: some boxes, so that there are insides far from any border."""
    label_hw = np.zeros((height, width), bool)
    for _ in range(int(random.integers(0, 4))):
        top, left = random.integers(0, height), random.integers(0, width)
        label_hw[top : top + random.integers(1, height + 1), left : left + random.integers(1, width + 1)] ^= True
    return label_hw


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    distance=st.one_of(st.sampled_from([1.0, 2**0.5, 5.0, 6.0]), st.floats(1, 40)),
)
def test_near_the_border_is_where_distances_say(seed: int, height: int, width: int, distance: float) -> None:
    label_hw = blobs(np.random.default_rng(seed), height, width)
    near_hw = np.empty(label_hw.shape, np.bool_)
    near_border(label_hw, distance, near_hw)
    np.testing.assert_array_equal(near_hw, distances(label_hw) <= distance)


def overlap(parts: list[tuple[np.ndarray, np.ndarray]]) -> float | None:
    """IoU over pairs of flat masks and truths, pooled; None without a true pixel."""
    if not sum(np.sum(true) for _, true in parts):
        return None
    return sum(np.sum(mask & true) for mask, true in parts) / sum(np.sum(mask | true) for mask, true in parts)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5), st.sampled_from(THRESHOLDS))
def test_measures_are_what_brute_force_gives(seeds: list[int], threshold: float) -> None:
    metrics, answers = Metrics(), Answers()
    regions: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for seed in seeds:
        random = np.random.default_rng(seed)
        height, width = int(random.integers(20, 240)), int(random.integers(20, 240))
        label_hw = blobs(random, height, width)
        ignore_hw = None if random.random() < 0.5 else blobs(random, height, width)
        probability_hw = random.choice(THRESHOLDS, (height, width)).astype(np.float32)
        keep_hw = np.ones_like(label_hw) if ignore_hw is None else ~ignore_hw
        mask_hw = probability_hw.astype(np.float64) > threshold
        metrics.update("a", probability_hw, label_hw, ignore_hw)
        answers.update(AskedQuery("", "a"), mask_hw, label_hw, ignore_hw, score=1.0, size=label_hw.size)
        if not (label_hw & keep_hw).any():
            continue
        share = np.sum(label_hw & keep_hw) / np.sum(keep_hw)
        near = distances(label_hw)
        size = "small" if share < 0.02 else "medium" if share < 0.1 else "large"
        for name, where_hw in (
            (size, keep_hw),
            ("border", keep_hw & (near <= 6)),
            ("border_diagonal", keep_hw & (near <= max(1, 0.01 * np.hypot(height, width)))),
        ):
            regions.setdefault(name, []).append((mask_hw[where_hw], label_hw[where_hw]))
    for scores in (metrics.scores(thresholds=threshold), answers.scores(lambda asked: True)):
        for name in ("border", "border_diagonal", "small", "medium", "large"):
            assert getattr(scores, f"iou_{name}") == pytest.approx(overlap(regions.get(name, []))), name


def test_an_absent_thing_has_no_border_and_no_size() -> None:
    metrics = Metrics()
    metrics.update("a", np.ones((30, 30), np.float32), None)
    scores = metrics.scores(thresholds=0.5)
    assert scores.iou_border is scores.iou_border_diagonal is None
    assert scores.iou_small is scores.iou_medium is scores.iou_large is None


def test_a_mask_a_pixel_too_wide_costs_more_at_the_border_than_in_all() -> None:
    label_hw = np.zeros((100, 100), bool)
    label_hw[20:80, 20:80] = True
    wide_hw = np.zeros((100, 100), np.float32)
    wide_hw[19:81, 19:81] = 1
    metrics = Metrics()
    metrics.update("a", wide_hw, label_hw)
    scores = metrics.scores(thresholds=0.5)
    assert scores.iou_fg == scores.iou_large == pytest.approx(60**2 / 62**2)
    inner = 60**2 - 48**2
    assert scores.iou_border == pytest.approx(inner / (inner + 62**2 - 60**2))
    assert scores.iou_small is None
