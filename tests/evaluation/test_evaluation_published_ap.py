"""AP as published: SciPy's Simpson on the same counts, beside what AP is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from clipseg_ray.evaluation.counts import THRESHOLDS, Counts
from clipseg_ray.evaluation.metrics import Metrics
from clipseg_ray.evaluation.published_ap import published_ap, simpson


def authors(probability_n: np.ndarray, label_n: np.ndarray) -> float:
    """Written anew from the description, from pixels; an integral by SciPy."""
    points = set()
    for threshold in THRESHOLDS:
        inside_n = probability_n.astype(np.float64) > threshold
        true, false = int((inside_n & label_n).sum()), int((inside_n & ~label_n).sum())
        if true + false > 0:
            missed = int((~inside_n & label_n).sum())
            points.add((true / (1 + true + missed), true / (1 + true + false)))
    recalls, precisions = zip(*sorted(points, key=lambda point: point[0]), strict=True)
    return float(integrate.simpson(precisions, x=recalls))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9), st.sampled_from([3, 8, 40, 300]), st.sampled_from([0.05, 0.3, 1.0, 4.0]))
def test_it_is_scipys_simpson_on_the_same_counts(seed: int, pixels: int, sharpness: float) -> None:
    random = np.random.default_rng(seed)
    label_n = random.random(pixels) < random.choice([0.1, 0.5, 0.9])
    logits_n = sharpness * (4 * label_n - 2 + random.normal(0, 2, pixels))
    probability_n = (1 / (1 + np.exp(-logits_n))).astype(np.float32)
    counts = Counts()
    counts.update(probability_n[None], label_n[None])
    if not label_n.any() or not (probability_n > 0.02).any():
        assert counts.published_ap is None
    else:
        assert counts.published_ap == pytest.approx(authors(probability_n, label_n), rel=1e-9, abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 0.1, 0.1, 0.2, 0.5, 1]), st.floats(0, 1)), min_size=1, max_size=9))
def test_the_rule_is_scipys_with_equal_recalls_too(points: list[tuple[float, float]]) -> None:
    points = sorted(points, key=lambda point: point[0])
    x, y = zip(*points, strict=True)
    assert simpson(points) == pytest.approx(float(integrate.simpson(y, x=x)), rel=1e-9, abs=1e-9)


def test_sure_answers_have_next_to_none_of_it() -> None:
    random = np.random.default_rng(0)
    label_hw = np.zeros((352, 352), bool)
    label_hw[100:220, 60:300] = True
    logits_hw = 2.5 * label_hw - 1.8 + random.normal(0, 1.0, label_hw.shape)
    found = []
    for sharpness in (1, 12):
        counts = Counts()
        counts.update((1 / (1 + np.exp(-sharpness * logits_hw))).astype(np.float32), label_hw)
        assert counts.average_precision is not None
        assert counts.published_ap is not None
        found.append((counts.average_precision, counts.published_ap))
    (ap, published), (sure_ap, sure_published) = found
    assert sure_ap == pytest.approx(ap, abs=0.15)  # the order of the pixels is the same, but for ties at 0 and 1
    assert sure_ap - sure_published > 0.4
    assert ap - published < 0.2

    perfect = Metrics()
    perfect.update("a", np.where(label_hw, 1 / (1 + np.exp(-8)), 1 / (1 + np.exp(8))).astype(np.float32), label_hw)
    scores = perfect.scores()
    assert (scores.ap, scores.ap_clipseg) == (1, 0)


def test_where_it_is_undefined() -> None:
    nothing = np.zeros(49, np.int64)
    assert published_ap(nothing, nothing, 5) is None
    assert published_ap(nothing, nothing + 3, 0) is None
    assert published_ap(nothing, nothing + 3, 5) == 0
    assert Metrics().scores().ap_clipseg is None
