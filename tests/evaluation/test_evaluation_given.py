"""A masks dataset against truth shards: joined, resized, counted; what is missing is not an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation import given
from clipseg_ray.evaluation.answers import Answers
from clipseg_ray.evaluation.config import EvaluatedMasks, RowConfig
from clipseg_ray.evaluation.metrics import Asked, Metrics
from clipseg_ray.evaluation.truth import TruthSet, survey
from clipseg_ray.queries.prompt_set import PromptSet
from clipseg_ray.queries.query import Query
from clipseg_ray.results import layout, parts, record, schema
from clipseg_ray.storage import Store
from tests.evaluation.world import SIDE, box, entry, noise, rle, write

DOG, CAT = box(10, 20, 40, 60), box(0, 0, 30, 30)
QUERIES = [
    Query("dog", "animal", ("dog",), ("{}",), 0.5),
    Query("pet", "trait", ("pet",), ("{}",), 0.5, concept=("cat",)),
]


def truth(folder: Path) -> TruthSet:
    samples = [
        ("a", noise(0), {"truth": [entry("dog", DOG), entry("cat", CAT)]}),
        ("b", noise(1), {"truth": [entry("cat", DOG)]}),
        ("c", noise(2), {"truth": []}),
    ]
    url = write(str(folder / "truth"), [(k, j, {**t, "height": SIDE, "width": SIDE}) for k, j, t in samples])
    return TruthSet.of([url])


def dataset(folder: Path, rows: list[tuple[str, str, float, np.ndarray]], images: str = "abc", **masks: Any) -> str:
    """A dataset in which each (key, query_id, score, mask) stands."""
    store = Store.of(str(folder / "masks"))
    settings = {"root": str(folder / "truth"), "id_field": None}
    record.create(store, record.DatasetRecord(settings, {}, {"keep_empty": True, **masks}, {}))
    prompt_set = PromptSet.of(QUERIES, np.zeros((len(QUERIES), 4)))
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(prompt_set.to_table(), sink)
    store.put(layout.queries_file(prompt_set.name), bytes(sink.getvalue()))
    about = {"shard": "0" * 16, "chunk": 0, "source_url": "x", "status": "ok"}
    found = [{"image_id": f"s-000.tar/{key}", "key": key, **about} for key in images]
    name = layout.part_name("0" * 16, 0)
    store.put(f"images/{name}", parts.images_bytes(pa.Table.from_pylist(found, schema.IMAGES), {}))
    values = [
        {
            "image_id": f"s-000.tar/{key}",
            "query_id": query_id,
            "score": score,
            "area": int(mask_hw.sum()),
            "coverage": float(mask_hw.mean()),
            "bbox": {"x": 0, "y": 0, "w": 0, "h": 0},
            "height": mask_hw.shape[0],
            "width": mask_hw.shape[1],
            "counts": rle(mask_hw),
            "image_height": SIDE,
            "image_width": SIDE,
        }
        for key, query_id, score, mask_hw in rows
    ]
    body = parts.masks_bytes(pa.Table.from_pylist(values, schema.MASKS), {})
    store.put(f"{layout.masks_folder(prompt_set.name)}/{name}", body)
    return store.url


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
    assert (partial.pictures_missing, partial.masks_missing) == (1, 1)
    scores = partial.scores(lambda asked: True)
    assert (scores.images_present, scores.images_absent) == (1, 0)
    sparse = score(found, url, keep_empty=False)
    assert (sparse.pictures_missing, sparse.masks_missing) == (1, 0)
    scores = sparse.scores(lambda asked: True)
    assert (scores.images_present, scores.images_absent, scores.absent_silent) == (1, 1, 1)


def test_queries_find_their_truth_by_id_by_name_or_by_concept(tmp_path: Path) -> None:
    found = truth(tmp_path)
    rows = [("a", "pet", 0.9, CAT), ("b", "pet", 0.9, CAT)]
    url = dataset(tmp_path, rows)
    assert score(found, url).answers.keys() <= {Asked("object", "dog")}
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
        asked = Asked("kind", f"q{number % 2}")
        score = float(mask_hw.any())
        answers.update(asked, mask_hw if mask_hw.any() else None, label, ignore, score, mask_hw.size)
        metrics.update(asked.query_id, mask_hw.astype(np.float32), label, ignore, kind="kind", score=score)
    for present_only in (False, True):
        found = answers.scores(lambda asked: True, present_only=present_only)
        known = metrics.scores(thresholds=0.5, present_only=present_only)
        for measure in ("iou_fg", "iou_bin", "miou", "iou_per_image", "precision", "recall", "images_absent"):
            assert getattr(found, measure) == getattr(known, measure), measure


def test_nothing_in_common_is_said(tmp_path: Path) -> None:
    found = truth(tmp_path)
    url = dataset(tmp_path, [])
    things = survey(found).vocabulary
    with pytest.raises(UserError, match=r"masks\.match: id: no query of .* \(dog, pet, …\) has a truth \(cow, …\)"):
        given.truth_of(EvaluatedMasks(url=url), {"cow": things["cat"]})
    message = str(given.strangers(TruthSet.of([str(tmp_path / "truth")], str(tmp_path)), url))
    assert "theirs are named like 'truth/s-000.tar/a', the dataset's like 's-000.tar/a'" in message
    masks = {"test": given.GivenMasks(url, {"dog": things["dog"]}, True)}
    with pytest.raises(UserError, match=r"row 'r': none of the dataset's 1 queries with a truth is meant; .* object"):
        given.check_rows([RowConfig(name="r", kinds=["part"])], masks)
    with pytest.raises(UserError, match=r"no dataset here; check masks\.url"):
        given.opened(str(tmp_path / "truth"))
