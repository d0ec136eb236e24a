"""A masks dataset against truth shards: joined, resized, counted; what is missing is not an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation import given
from clipseg_ray.evaluation.answers import Answers
from clipseg_ray.evaluation.config import EvaluatedMasks, RowConfig
from clipseg_ray.evaluation.metrics import AskedQuery, Metrics
from clipseg_ray.evaluation.protocols import Asking, Task
from clipseg_ray.evaluation.questions import prepare
from clipseg_ray.evaluation.scoring import Scorer
from clipseg_ray.evaluation.truth import TruthSet, survey
from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.pixels.decode import decode
from clipseg_ray.queries.prompt_set import embed
from clipseg_ray.queries.query import Query
from clipseg_ray.results import record
from clipseg_ray.storage import Store
from tests.evaluation.world import SIDE, box, entry, noise, write, write_masks, write_scenes

DOG, CAT = box(10, 20, 40, 60), box(0, 0, 30, 30)
QUERIES = [
    Query(query_id="dog", kind="animal", texts=("dog",), templates=("{}",), threshold=0.5),
    Query(query_id="pet", kind="trait", texts=("pet",), templates=("{}",), threshold=0.5, concept=("cat",)),
]


def truth(folder: Path) -> TruthSet:
    samples = [
        ("a", noise(0), {"truth": [entry("dog", DOG), entry("cat", CAT)]}),
        ("b", noise(1), {"truth": [entry("cat", DOG)]}),
        ("c", noise(2), {"truth": []}),
    ]
    url = write(str(folder / "truth"), [(k, j, {**t, "height": SIDE, "width": SIDE}) for k, j, t in samples])
    return TruthSet.of([url])


def dataset(folder: Path, rows: list[tuple[str, str, float, np.ndarray]], images: str = "abc") -> str:
    """A dataset with these masks for the images of ``truth``."""
    return write_masks(folder, QUERIES, rows, images, folder / "truth")


def score(found: TruthSet, url: str, keep_empty: bool = True, **settings: Any) -> Answers:
    things = given.truth_of(EvaluatedMasks(url=url, **settings), survey(found).vocabulary)
    return given.GivenMasks(url, things, keep_empty).score(found, found.shards[0])


NOTHING = np.zeros((SIDE, SIDE), bool)


def test_masks_are_joined_by_picture_and_query(tmp_path: Path) -> None:
    found = truth(tmp_path)
    url = dataset(tmp_path, [("a", "dog", 0.9, DOG & ~CAT), ("b", "dog", 0.6, CAT), ("c", "dog", 0.3, NOTHING)])
    scores = score(found, url).scores(lambda asked: asked == ("object", "dog"))
    both, false, true = np.sum(DOG & ~CAT), np.sum(CAT), np.sum(DOG)
    assert scores.iou_fg == pytest.approx(both / (true + false))
    assert scores.precision == pytest.approx(both / (both + false))
    assert scores.recall == pytest.approx(both / true)
    background = 3 * SIDE**2 - true
    assert scores.iou_bin == pytest.approx((both / (true + false) + (background - false) / (3 * SIDE**2 - both)) / 2)
    assert scores.iou_per_image == pytest.approx(both / true, abs=1e-9)
    assert (scores.images_present, scores.images_absent) == (1, 2)
    assert (scores.present_found, scores.absent_silent, scores.presence_accuracy) == (1, 1 / 2, 2 / 3)
    assert scores.ap_images == 1
    assert scores.ap is scores.threshold is None


def test_a_query_with_two_masks_is_counted_twice_and_what_nobody_knows_is_not(tmp_path: Path) -> None:
    size = {"height": SIDE, "width": SIDE}
    samples = [
        ("a", noise(0), {"truth": [entry("dog", DOG), entry("dog", CAT)], **size}),
        ("b", noise(1), {"truth": [], "absent": [], **size}),
        ("c", noise(2), {"truth": [], **size}),
    ]
    found = TruthSet.of([write(str(tmp_path / "truth"), samples)], root=str(tmp_path / "truth"))
    url = dataset(tmp_path, [(key, "dog", 0.9, DOG) for key in "abc"])
    scores = score(found, url).scores(lambda asked: True)
    assert (scores.images_present, scores.images_absent) == (2, 1)
    assert scores.recall == pytest.approx((np.sum(DOG) + np.sum(DOG & CAT)) / (np.sum(DOG) + np.sum(CAT)))


def test_a_coarser_grid_is_laid_over_the_truth(tmp_path: Path) -> None:
    found = truth(tmp_path)
    coarse = np.zeros((24, 48), bool)
    coarse[2:10, 10:40] = True  # cells of 4×2 pixels
    url = dataset(tmp_path, [("a", "dog", 0.9, coarse)])
    assert score(found, url).scores(lambda asked: True).iou_fg == pytest.approx(
        np.sum(DOG & box(8, 20, 32, 60)) / np.sum(DOG | box(8, 20, 32, 60))
    )


def test_what_the_dataset_lacks_is_no_answer_unless_it_drops_empty_masks(tmp_path: Path) -> None:
    found = truth(tmp_path)
    url = dataset(tmp_path, [("a", "dog", 0.9, DOG)], images="ab")
    partial = score(found, url)
    assert (partial.images_missing, partial.masks_missing) == (1, 1)
    scores = partial.scores(lambda asked: True)
    assert (scores.images_present, scores.images_absent) == (1, 0)
    sparse = score(found, url, keep_empty=False)
    assert (sparse.images_missing, sparse.masks_missing) == (1, 0)
    scores = sparse.scores(lambda asked: True)
    assert (scores.images_present, scores.images_absent, scores.absent_silent) == (1, 1, 1)


def test_queries_find_their_truth_by_id_by_name_or_by_concept(tmp_path: Path) -> None:
    found = truth(tmp_path)
    rows = [("a", "pet", 0.9, CAT), ("b", "pet", 0.9, CAT)]
    url = dataset(tmp_path, rows)
    assert score(found, url).answers.keys() <= {AskedQuery("object", "dog")}
    named = score(found, url, queries={"pet": "cat"}).scores(lambda asked: asked == ("object", "pet"))
    united = score(found, url, match="concept").scores(lambda asked: asked == ("trait", "pet"))
    both = np.sum(CAT) + np.sum(CAT & DOG)
    assert named.iou_fg == united.iou_fg == pytest.approx(both / (np.sum(CAT) + np.sum(CAT | DOG)))
    with pytest.raises(UserError, match=r"masks\.queries: 'pt' is neither in the dataset"):
        score(found, url, queries={"pt": "cat"})


def test_present_pictures_alone_and_merging(tmp_path: Path) -> None:
    found = truth(tmp_path)
    url = dataset(tmp_path, [("a", "dog", 0.9, DOG), ("b", "dog", 0.6, CAT), ("c", "dog", 0.3, NOTHING)])
    one = score(found, url)
    twice = score(found, url)
    twice.merge(one)
    assert one.scores(lambda asked: True, present_only=True).iou_fg == 1
    assert twice.scores(lambda asked: True).iou_fg == one.scores(lambda asked: True).iou_fg
    assert twice.scores(lambda asked: True).images_absent == 4


def test_given_masks_count_as_certain_probabilities_do() -> None:
    random = np.random.default_rng(0)
    answers, metrics = Answers(), Metrics()
    for number in range(40):
        mask_hw, label_hw, ignore_hw = (random.random((5, 7)) < share for share in (0.4, 0.3, 0.2))
        label = None if number % 3 == 0 else label_hw
        ignore = None if number % 4 else ignore_hw | (number % 8 == 0)
        asked = AskedQuery("kind", f"q{number % 2}")
        score = float(mask_hw.any())
        answers.update(asked, mask_hw if mask_hw.any() else None, label, ignore, score, mask_hw.size)
        metrics.update(asked.query_id, mask_hw.astype(np.float32), label, ignore, kind="kind", score=score)
    for present_only in (False, True):
        found = answers.scores(lambda asked: True, present_only=present_only)
        known = metrics.scores(thresholds=0.5, present_only=present_only)
        measures = ("iou_fg", "iou_bin", "miou", "iou_per_image", "precision", "recall", "images_absent")
        regions = ("iou_border", "iou_border_diagonal", "iou_small", "iou_medium", "iou_large")
        for measure in (*measures, "accuracy_5", "accuracy_7", "accuracy_9", *regions):
            assert getattr(found, measure) == getattr(known, measure), measure


@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_a_model_and_the_masks_it_gave_get_the_same_scores(
    tmp_path: Path, checkpoint_dir: Path, threshold: float
) -> None:
    truth = TruthSet.of([write_scenes(str(tmp_path / "truth"), shards=1, images=4, seed=20_000_000)])
    (shard,) = truth.shards
    vocabulary = {name: thing for name, thing in survey(truth).vocabulary.items() if thing.kind in ("object", "part")}
    checkpoint = checkpoints.load(str(checkpoint_dir))
    engine = Engine(make_model(checkpoint, batch=2, decode_chunk=4))
    job = Task("test", Asking(protocol="text", texts="first", templates=("{}",)), tuple(vocabulary.values()), True)
    (metrics,) = Scorer(engine, checkpoint.preprocessing).score(truth, shard, [prepare(job, checkpoint, {})])

    queries = [
        Query(query_id=thing.query_id, kind=thing.kind, texts=thing.texts[:1], templates=("{}",), threshold=threshold)
        for thing in job.things
    ]
    scenes = next(truth.scenes(shard))
    pixels_bhwc = np.stack([decode(scene.image, checkpoint.preprocessing).pixels_hwc for scene in scenes])
    logit = np.full(len(queries), np.log(threshold / (1 - threshold)), np.float32)
    rows = []
    for block in engine.segment(pixels_bhwc, engine.embed(embed(queries, checkpoint)), logit):
        masks_pn = np.unpackbits(block.bits_pn, axis=1, count=SIDE * SIDE, bitorder="little").astype(bool)
        for image, query, high, mask_n in zip(
            block.image_index_p, block.query_index_p, block.max_logit_p, masks_pn, strict=True
        ):
            score = float(1 / (1 + np.exp(-high)))
            rows.append((f"{image:03d}", queries[query].query_id, score, mask_n.reshape(SIDE, SIDE).T))
    url = write_masks(tmp_path, queries, rows, [f"{image:03d}" for image in range(4)], tmp_path / "truth")
    answers = given.GivenMasks(url, vocabulary, True).score(truth, shard)

    for kind in ("object", "part"):
        for present_only in (False, True):
            mine = metrics.scores(lambda asked, kind=kind: asked.kind == kind, threshold, present_only=present_only)
            theirs = answers.scores(lambda asked, kind=kind: asked.kind == kind, present_only=present_only)
            assert mine.recall is not None
            assert mine.precision is not None
            for measure in ("queries", "images_present", "images_absent", "absent_silent", "present_found"):
                assert getattr(mine, measure) == getattr(theirs, measure), measure
            for measure in ("iou_fg", "iou_bin", "miou", "iou_per_image", "precision", "recall", "ap_images"):
                assert getattr(mine, measure) == pytest.approx(getattr(theirs, measure), abs=1e-4), measure


def test_nothing_in_common_is_said(tmp_path: Path) -> None:
    found = truth(tmp_path)
    url = dataset(tmp_path, [])
    things = survey(found).vocabulary
    with pytest.raises(UserError, match=r"masks\.match: id: no query of .* \(dog, pet, …\) has a truth \(cow, …\)"):
        given.truth_of(EvaluatedMasks(url=url), {"cow": things["cat"]})
    message = str(given.nothing_matches(TruthSet.of([str(tmp_path / "truth")], str(tmp_path)), url))
    assert "theirs are named like 'truth/s-000.tar/a', the dataset's like 's-000.tar/a'" in message
    masks = {"test": given.GivenMasks(url, {"dog": things["dog"]}, True)}
    with pytest.raises(UserError, match=r"row 'r': none of the dataset's 1 queries with a truth is meant; .* object"):
        given.check_rows([RowConfig(name="r", kinds=["part"])], masks)
    with pytest.raises(UserError, match=r"no dataset here \(no _dataset\.json\); check masks\.url"):
        record.require(Store.of(str(tmp_path / "truth")), "masks.url")
