"""Truth shards: what is read from them, what counts as true, and how faults are reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipseg_ray.demo.shards import write_shards
from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.truth import SCENES_AT_ONCE, Thing, TruthSet, survey
from tests.evaluation.world import SIDE, box, entry, noise, rle, write

CHAIR, SOFA = box(10, 20, 30, 40), box(50, 60, 20, 20)


def sample(key: str, *entries: dict[str, Any], **changes: Any) -> tuple[str, bytes, dict[str, Any]]:
    return key, noise(0), {"truth": list(entries), "height": SIDE, "width": SIDE, **changes}


CONCEPTS = {"ride on": ("horse", "pony"), "drive": ("pony", "car")}


def named(query_id: str) -> dict[str, Any]:
    return {"query_id": query_id, "kind": "object", "texts": [query_id]}


def test_scenes_come_in_order_a_few_at_a_time_with_their_masks(tmp_path: Path) -> None:
    samples = [sample(f"{i:03d}", entry("chair", CHAIR)) for i in range(SCENES_AT_ONCE + 3)]
    truth = TruthSet.of([write(str(tmp_path / "t"), samples, "b.tar")])
    write(str(tmp_path / "t"), samples[:1], "a.tar")
    found = list(truth.scenes(truth.shards[0]))
    assert [len(scenes) for scenes in found] == [SCENES_AT_ONCE, 3]
    assert found[1][2].image_id == f"b.tar/{SCENES_AT_ONCE + 2:03d}"
    assert np.array_equal(found[0][0].planes()["chair"][0].T, CHAIR)
    assert [shard.path for shard in TruthSet.of([str(tmp_path / "t")]).shards] == ["a.tar", "b.tar"]


def test_the_demos_shards_are_truth_shards(tmp_path: Path) -> None:
    write_shards(tmp_path / "t", shards=1, images=3, seed=5)
    contents = survey(TruthSet.of([str(tmp_path / "t")]))
    assert contents.images == 3
    assert {thing.kind for thing in contents.vocabulary.values()} >= {"object", "coloured object"}


def test_the_vocabulary_is_every_query_that_holds_somewhere(tmp_path: Path) -> None:
    write(
        str(tmp_path / "t"),
        [
            sample("a", entry("chair", CHAIR), entry("red-chair", CHAIR, "coloured object", ["red chair"])),
            sample("b"),
            sample("c", entry("chair", SOFA)),
        ],
    )
    contents = survey(TruthSet.of([str(tmp_path / "t")]))
    assert contents.images == 3
    assert contents.vocabulary == {
        "chair": Thing("chair", "object", ("chair",)),
        "red-chair": Thing("red-chair", "coloured object", ("red chair",)),
    }


def test_a_generalised_query_is_true_where_any_of_its_concept_is(tmp_path: Path) -> None:
    entries = [entry("chair", CHAIR), entry("couch", SOFA, texts=["sofa", "couch"]), entry("lamp", box(0, 0, 5, 5))]
    truth = TruthSet.of([write(str(tmp_path / "t"), [sample("a", *entries), sample("b", entries[2])])])
    both, lamp_only = next(truth.scenes(truth.shards[0]))
    sit = Thing("paper-sit-on", "affordance", ("sit on",), concept=("armchair", "sofa", "chair"))
    (label_wh,) = sit.labels(both, both.planes())
    assert label_wh is not None
    assert np.array_equal(label_wh.T, CHAIR | SOFA)
    assert list(sit.labels(lamp_only, lamp_only.planes())) == [None]


def test_a_query_with_two_masks_of_its_own_answers_twice(tmp_path: Path) -> None:
    entries = [entry("chair", CHAIR), entry("lamp", box(0, 0, 5, 5)), entry("chair", SOFA)]
    truth = TruthSet.of([write(str(tmp_path / "t"), [sample("a", *entries)])])
    ((scene,),) = truth.scenes(truth.shards[0])
    first_wh, second_wh = Thing("chair", "object", ("chair",)).labels(scene, scene.planes())
    assert first_wh is not None
    assert second_wh is not None
    assert np.array_equal(first_wh.T, CHAIR)
    assert np.array_equal(second_wh.T, SOFA)
    (union_wh,) = Thing("sit-on", "affordance", ("sit on",), concept=("chair",)).labels(scene, scene.planes())
    assert union_wh is not None
    assert np.array_equal(union_wh.T, CHAIR | SOFA)
    assert list(survey(truth).vocabulary) == ["chair", "lamp"]


def test_where_a_few_queries_were_looked_for_nothing_is_known_of_others(tmp_path: Path) -> None:
    absent = [named("horse"), named("pony"), named("unicorn")]
    samples = [sample("a", entry("chair", CHAIR), absent=absent), sample("b", entry("lamp", SOFA), absent=[])]
    truth = TruthSet.of([write(str(tmp_path / "t"), samples)])
    ((scene, _),) = truth.scenes(truth.shards[0])
    planes = scene.planes()
    asked = [Thing(name, "object", (name,)) for name in ("chair", "horse", "lamp")]
    assert [len(thing.labels(scene, planes)) for thing in asked] == [1, 1, 0]
    assert list(asked[1].labels(scene, planes)) == [None]
    ride, drive = (Thing(name, "affordance", (name,), concept) for name, concept in CONCEPTS.items())
    assert list(ride.labels(scene, planes)) == [None]
    assert list(drive.labels(scene, planes)) == []  # no pony, and of cars nobody knows
    assert sorted(survey(truth).vocabulary) == ["chair", "horse", "lamp", "pony", "unicorn"]


def test_pixels_may_be_ignored(tmp_path: Path) -> None:
    ignore = box(0, 0, 96, 8)
    truth = TruthSet.of([write(str(tmp_path / "t"), [sample("a", ignore=rle(ignore)), sample("b")])])
    first, second = next(truth.scenes(truth.shards[0]))
    found_wh = first.ignored()
    assert found_wh is not None
    assert np.array_equal(found_wh.T, ignore)
    assert second.ignored() is None


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ({"caption": "a chair"}, "a: no truth in its JSON (KeyError: 'truth'); a truth shard has"),
        ({"truth": [], "height": SIDE}, "KeyError: 'width'"),
        ({"truth": [{"query_id": "chair", "kind": "object", "counts": ""}]}, "KeyError: 'texts'"),
        ({"truth": [{**entry("chair", CHAIR), "texts": "chair"}]}, "texts of 'chair' must be a list"),
        (
            {"truth": [entry("chair", CHAIR)], "absent": [named("chair")], "height": SIDE, "width": SIDE},
            "a: 'chair' has a mask in truth and stands in absent; leave out one of them",
        ),
        ({"truth": [], "absent": [{"query_id": "chair"}], "height": SIDE, "width": SIDE}, "a: no truth in its JSON"),
    ],
)
def test_what_is_no_truth_is_named(tmp_path: Path, truth: dict[str, Any], message: str) -> None:
    found = TruthSet.of([write(str(tmp_path / "t"), [("a", noise(0), truth)])])
    with pytest.raises(UserError) as caught:
        survey(found)
    assert message in str(caught.value)


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    found = TruthSet.of([write(str(tmp_path / "t"), [sample("a", entry("chair", CHAIR), height=40)])])
    with pytest.raises(UserError, match=r"s-000\.tar/a: truth: counts: row 0 is no run-length encoding of 40×96"):
        next(found.scenes(found.shards[0]))[0].planes()


def test_one_id_has_one_meaning(tmp_path: Path) -> None:
    samples = [sample("a", entry("seat", CHAIR)), sample("b", entry("seat", CHAIR, kind="part"))]
    found = TruthSet.of([write(str(tmp_path / "t"), samples)])
    with pytest.raises(UserError, match=r"the query 'seat' is part .* here and object .* in an image before"):
        survey(found)
