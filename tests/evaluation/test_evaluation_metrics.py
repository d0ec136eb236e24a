"""Metrics against brute force and scikit-learn."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, jaccard_score, precision_score, recall_score

from clipseg_ray.evaluation.counting import BINS
from clipseg_ray.evaluation.counts import THRESHOLDS, Counts
from clipseg_ray.evaluation.metrics import SCHEMA, Metrics


@dataclass
class Image:
    query_id: str
    kind: str
    probability_hw: np.ndarray
    label_hw: np.ndarray | None
    ignore_hw: np.ndarray | None = None

    @property
    def counted(self) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (float64, as the thresholds are) and labels of the pixels that count."""
        label_hw = np.zeros(self.probability_hw.shape, bool) if self.label_hw is None else self.label_hw
        keep_hw = np.ones(label_hw.shape, bool) if self.ignore_hw is None else ~self.ignore_hw
        return self.probability_hw[keep_hw].astype(np.float64), label_hw[keep_hw]


def image(seed: int, *, queries: int = 3) -> Image:
    """A random answer: sometimes absent, empty, ignored in part or whole, with ties and probabilities of 0 and 1."""
    random = np.random.default_rng(seed)
    shape = (int(random.integers(1, 9)), int(random.integers(1, 9)))
    style = random.integers(4)
    if style == 0:
        probability_hw = random.integers(0, 51, shape) / 50  # on the thresholds themselves
    elif style == 1:
        probability_hw = random.choice([0.0, 1.0, 0.5], shape)
    else:
        probability_hw = random.beta(0.3, 0.5, shape)
    label_hw = None if random.random() < 0.2 else random.random(shape) < random.choice([0, 0.3, 0.8, 1])
    ignore_hw = None if random.random() < 0.6 else random.random(shape) < random.choice([0, 0.5, 1])
    number = int(random.integers(queries))
    return Image(f"q{number}", f"kind {number % 2}", probability_hw.astype(np.float32), label_hw, ignore_hw)


def measured(images: list[Image]) -> Metrics:
    metrics = Metrics()
    for each in images:
        metrics.update(each.query_id, each.probability_hw, each.label_hw, each.ignore_hw, kind=each.kind)
    return metrics


def rounded_up(probability_n: np.ndarray) -> np.ndarray:
    return np.maximum(np.ceil(probability_n * BINS), 1)


images_ = st.lists(st.integers(0, 10**9).map(image), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(images_, st.sampled_from(range(len(THRESHOLDS))))
def test_every_measure_is_what_brute_force_gives(images: list[Image], at: int) -> None:
    threshold = THRESHOLDS[at]
    scores = measured(images).scores(thresholds=threshold)
    kept = [each for each in images if each.counted[0].size]
    p_n = np.concatenate([each.counted[0] for each in kept] or [np.zeros(0)])
    true_n = np.concatenate([each.counted[1] for each in kept] or [np.zeros(0, bool)])
    inside_n = p_n > threshold
    both = np.sum(inside_n & true_n), np.sum(~inside_n & ~true_n)
    either = np.sum(inside_n | true_n), np.sum(~inside_n | ~true_n)
    present = [each for each in kept if each.counted[1].any()]
    absent = [each for each in kept if not each.counted[1].any()]
    assert (scores.images_present, scores.images_absent) == (len(present), len(absent))
    if not true_n.any():
        assert scores.iou_fg is scores.iou_bin is scores.miou is scores.iou_per_image is scores.ap is None
        assert scores.recall is scores.best_threshold is scores.present_found is scores.accuracy_5 is None
    else:
        assert scores.iou_fg == pytest.approx(both[0] / either[0])
        assert scores.recall == pytest.approx(recall_score(true_n, inside_n))
        assert scores.ap == pytest.approx(average_precision_score(true_n, rounded_up(p_n)))
        own = [
            np.sum((p > threshold) & true) / np.sum((p > threshold) | true) for p, true in (e.counted for e in present)
        ]
        assert scores.iou_per_image == pytest.approx(np.mean(own), abs=1e-9)
        found = (scores.accuracy_5, scores.accuracy_7, scores.accuracy_9)
        assert found == pytest.approx([np.mean(np.array(own) > bound) for bound in (0.5, 0.7, 0.9)])
        assert scores.present_found == pytest.approx(
            np.mean([p.max() > threshold for p, _ in (e.counted for e in present)])
        )
        if true_n.all():
            assert scores.iou_bin is None
        else:
            assert scores.iou_bin == pytest.approx((both[0] / either[0] + both[1] / either[1]) / 2)
    if inside_n.any():
        assert scores.precision == pytest.approx(precision_score(true_n, inside_n))
    else:
        assert scores.precision is None
    if absent:
        silent = [p.max() <= threshold for p, _ in (each.counted for each in absent)]
        assert scores.absent_silent == pytest.approx(np.mean(silent))
    else:
        assert scores.absent_silent is None


@settings(max_examples=40, deadline=None)
@given(images_, st.randoms(use_true_random=False), st.integers(0, 8))
def test_neither_order_nor_division_matters(images: list[Image], random: object, cut: int) -> None:
    whole = measured(images)
    shuffled = list(images)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = measured(shuffled[:cut]), measured(shuffled[cut:])
    second = pickle.loads(pickle.dumps(second))
    second.merge(first)
    assert second.to_table().equals(whole.to_table())
    for asked, counts in whole.counts.items():
        assert np.array_equal(counts.pixels_cb, second.counts[asked].pixels_cb)
        assert np.array_equal(counts.images_cb, second.counts[asked].images_cb)
        assert np.array_equal(counts.share_sum_t, second.counts[asked].share_sum_t)


def test_merging_leaves_the_other_as_it_was() -> None:
    mine, other = Metrics(), measured([image(3)])
    before = other.to_table()
    mine.merge(other)
    mine.merge(other)
    assert other.to_table().equals(before)


def test_means_are_over_queries_that_have_a_truth() -> None:
    metrics = Metrics()
    certain = np.ones((2, 2), np.float32)
    quarter = np.array([[True, False], [False, False]])
    metrics.update("all", certain, certain > 0, kind="object")
    metrics.update("quarter", certain, quarter, kind="object")
    metrics.update("never there", certain, None, kind="object")
    scores = metrics.scores(thresholds=0.5)
    assert scores.queries == 3
    assert scores.miou == pytest.approx((1 + 1 / 4) / 2)
    assert scores.map == pytest.approx((1 + 1 / 4) / 2)
    assert scores.iou_fg == pytest.approx(5 / 12)
    assert scores.absent_silent == 0
    assert scores.present_found == 1


def test_against_scikit_learn_at_full_size() -> None:
    random = np.random.default_rng(0)
    label_hw = np.zeros((352, 352), bool)
    label_hw[100:220, 60:300] = True
    probability_hw = (1 / (1 + np.exp(-(4 * label_hw - 3 + random.normal(0, 1.5, label_hw.shape))))).astype(np.float32)
    counts = Counts()
    counts.update(probability_hw, label_hw)
    label_n, p_n = label_hw.reshape(-1), probability_hw.reshape(-1)
    assert counts.average_precision == pytest.approx(average_precision_score(label_n, p_n), abs=2e-4)
    assert counts.iou_fg_t is not None
    for at in (0, 24, 48):
        assert counts.iou_fg_t[at] == pytest.approx(jaccard_score(label_n, p_n.astype(np.float64) > THRESHOLDS[at]))
    best = max(THRESHOLDS, key=lambda threshold: jaccard_score(label_n, p_n > threshold))
    assert THRESHOLDS[counts.best or 0] == best


def test_a_threshold_is_chosen_on_one_set_and_applied_to_another() -> None:
    tune, test = Metrics(), Metrics()
    label_hw = np.arange(100).reshape(10, 10) >= 60
    tune.update("a", np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10), label_hw, kind="part")
    best = tune.best_threshold(lambda asked: asked.kind == "part")
    assert best == 0.6
    test.update("a", np.full((10, 10), 0.59, np.float32), label_hw, kind="part")
    by_kind = {row["level"]: row for row in test.to_table({"part": best}).to_pylist()}
    assert by_kind["kind"]["threshold"] == 0.6
    assert by_kind["kind"]["iou_fg"] == 0
    assert by_kind["kind"]["best_threshold"] == 0.02
    assert by_kind["query"]["threshold"] == 0.6


def test_the_score_may_come_from_the_models_own_grid() -> None:
    metrics = Metrics()
    metrics.update("a", np.full((4, 4), 0.4, np.float32), None, score=0.45)
    assert metrics.scores(thresholds=0.4).absent_silent == 0
    assert metrics.scores(thresholds=0.44).absent_silent == 0
    assert metrics.scores(thresholds=0.46).absent_silent == 1


def test_the_table_has_its_schema_also_when_nothing_was_counted() -> None:
    assert Metrics().to_table().schema == SCHEMA
    table = measured([image(seed) for seed in range(20)]).to_table()
    assert table.schema == SCHEMA
    assert table["level"].to_pylist() == ["query"] * 3 + ["kind"] * 2 + ["all"]


@pytest.mark.parametrize(
    ("probability", "label", "ignore", "message"),
    [
        (np.full((2, 2), 1.5, np.float32), None, None, "between 0 and 1"),
        (np.full((2, 2), -0.1, np.float32), None, None, "between 0 and 1"),
        (np.full((2, 2), np.nan, np.float32), None, None, "between 0 and 1"),
        (np.zeros((2, 2)), None, None, "float32"),
        (np.zeros((2, 2), np.float32), np.zeros((2, 3), bool), None, "shape"),
        (np.zeros((2, 2), np.float32), np.zeros((2, 2), np.uint8), None, "bool"),
        (np.zeros((2, 2), np.float32), None, np.zeros((4,), bool), "shape"),
    ],
)
def test_what_is_no_answer_is_refused(probability: object, label: object, ignore: object, message: str) -> None:
    metrics = Metrics()
    with pytest.raises(ValueError, match=message):
        metrics.update("a", probability, label, ignore)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"none of 0\.02"):
        metrics.scores(thresholds=0.333)


def test_kinds_have_thresholds_of_their_own_and_pool_at_them() -> None:
    metrics = Metrics()
    label_hw = np.array([[True, True, False, False]])
    metrics.update("a", np.array([[0.9, 0.3, 0.5, 0.1]], np.float32), label_hw, kind="low")
    metrics.update("b", np.array([[0.9, 0.3, 0.5, 0.1]], np.float32), label_hw, kind="high")
    scores = metrics.scores(thresholds={"low": 0.2, "high": 0.6})
    assert scores.iou_fg == pytest.approx((2 + 1) / (3 + 2))
    assert scores.miou == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert scores.threshold is None
    assert metrics.scores(thresholds={"low": 0.2, "high": 0.2}).threshold == 0.2


@settings(max_examples=30, deadline=None)
@given(images_)
def test_present_only_is_as_if_the_other_pictures_had_not_been_there(images: list[Image]) -> None:
    having = [each for each in images if each.counted[1].any()]
    alone = measured(having).scores(thresholds=0.5)
    found = measured(images).scores(thresholds=0.5, present_only=True)
    for measure in ("images_present", "images_absent", "iou_fg", "iou_bin", "ap", "precision", "best_threshold"):
        assert getattr(found, measure) == getattr(alone, measure)
