"""Episodes: what is drawn, that it can be repeated from what is written, and what is asked of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.config import EvaluateConfig
from clipseg_ray.evaluation.episode_file import EpisodeFile, episode_lines
from clipseg_ray.evaluation.episode_sets import EpisodeSets, drawn_episodes, episode_sets, written
from clipseg_ray.evaluation.episode_supports import SupportSpec, SupportWorker, wanted
from clipseg_ray.evaluation.episodes import Episode, Episodes, Shown, draw, gallery, times
from clipseg_ray.evaluation.metrics import AskedQuery, Metrics
from clipseg_ray.evaluation.protocols import Task, jobs_of
from clipseg_ray.evaluation.questions import prepare
from clipseg_ray.evaluation.scoring import Scorer
from clipseg_ray.evaluation.truth import TruthSet, survey
from clipseg_ray.evaluation.worker_checkpoint import Named
from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.queries.modes import parse_mode
from clipseg_ray.queries.prompt_set import embed
from clipseg_ray.queries.query import Query
from clipseg_ray.queries.supports import make_support
from tests.evaluation.world import box, entry, noise, write

IMAGES = Episodes("images", 0, None, None)
GALLERIES = st.dictionaries(
    st.sampled_from(["boat", "cow", "dog"]),
    st.lists(st.integers(0, 9), unique=True, max_size=8).map(lambda found: [shown(each) for each in sorted(found)]),
)


def shown(number: int) -> Shown:
    return Shown(f"{number:064x}", f"image {number}")


def by_classes(number: int) -> Episodes:
    return Episodes("classes", number, None, None)


class TestDraws:
    """Against what any draw must keep to."""

    @given(asked=GALLERIES, supports=GALLERIES, shots=st.integers(1, 3), seed=st.integers(0, 5))
    def test_each_image_is_asked_once_for_one_of_its_queries(
        self, asked: dict[str, list[Shown]], supports: dict[str, list[Shown]], shots: int, seed: int
    ) -> None:
        found = draw(IMAGES, asked=asked, supports=supports, shots=shots, seed=seed)
        possible = {
            (query_id, image)
            for query_id, images in asked.items()
            for image in images
            if len({*supports.get(query_id, ())} - {image}) >= shots
        }
        assert [each.image for each in found] == sorted({image for _, image in possible})
        assert {(each.query_id, each.image) for each in found} <= possible
        for each in found:
            assert len({*each.supports}) == len(each.supports) == shots
            assert {*each.supports} <= {*supports[each.query_id]} - {each.image}
        again = draw(
            IMAGES,
            asked=dict(reversed(asked.items())),
            supports=dict(reversed(supports.items())),
            shots=shots,
            seed=seed,
        )
        assert again == found

    @given(asked=GALLERIES, shots=st.integers(1, 2), seed=st.integers(0, 5))
    def test_as_many_as_are_wanted_are_drawn_by_class(
        self, asked: dict[str, list[Shown]], shots: int, seed: int
    ) -> None:
        found = draw(by_classes(20), asked=asked, supports=asked, shots=shots, seed=seed)
        possible = {query_id for query_id, images in asked.items() if len(images) > shots}
        assert len(found) == (20 if possible else 0)
        assert {each.query_id for each in found} <= possible
        for each in found:
            assert each.image in asked[each.query_id]
            assert {*each.supports} <= {*asked[each.query_id]} - {each.image}
        longer = draw(by_classes(30), asked=asked, supports=asked, shots=shots, seed=seed)
        assert longer[: len(found)] == found

    def test_classes_and_images_are_drawn_alike_often(self) -> None:
        asked = {"boat": [shown(number) for number in range(4)], "dog": [shown(number) for number in range(40)]}
        found = draw(by_classes(2000), asked=asked, supports=asked, shots=1, seed=0)
        classes = Counter(each.query_id for each in found)
        assert abs(classes["boat"] - 1000) < 100, "over four standard deviations"
        boats = Counter(each.image for each in found if each.query_id == "boat")
        assert all(abs(number - classes["boat"] / 4) < 65 for number in boats.values())
        other = draw(by_classes(2000), asked=asked, supports=asked, shots=1, seed=1)
        assert sum(a == b for a, b in zip(found, other, strict=True)) < 100

    def test_one_image_may_be_asked_for_several_queries(self) -> None:
        asked = {name: [shown(number) for number in range(30)] for name in ("boat", "dog")}
        found = draw(IMAGES, asked=asked, supports=asked, shots=1, seed=0)
        assert 5 < len(times(found, "boat")) < 25
        assert {*times(found, "boat").values()} == {1}


SIZE = (70, 110)
DOG, CAT = box(10, 20, 40, 60, SIZE), box(0, 0, 30, 30, SIZE)
SCENES = [[entry("dog", DOG)], [entry("dog", CAT), entry("cat", DOG)], [entry("cat", CAT)], [entry("dog", DOG)], []]


def truth_at(folder: Path, order: list[int]) -> str:
    samples = [
        (f"{place:03d}", noise(number, *SIZE), {"truth": SCENES[number], "height": SIZE[0], "width": SIZE[1]})
        for place, number in enumerate(order)
    ]
    return write(str(folder), samples)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return truth_at(tmp_path_factory.mktemp("truth"), [0, 1, 2, 3, 4])


@pytest.fixture(scope="module")
def checkpoint(checkpoint_dir: Path) -> Checkpoint:
    return checkpoints.load(str(checkpoint_dir))


def config(*rows: dict[str, Any], **changes: Any) -> EvaluateConfig:
    return EvaluateConfig.parse(
        {
            "truth": {"test": "a/"},
            "model": {"checkpoint": "d/"},
            "supports": {"truth": "test", "smallest": 0, "number": 7, **changes.pop("supports", {})},
            "rows": [
                {"name": str(number), "pictures": "present", "episodes": "images", **row}
                for number, row in enumerate(rows)
            ],
            "output": {"url": "e/"},
            **changes,
        }
    )


def tasks_of(settings: EvaluateConfig, truth: TruthSet) -> list[Task]:
    return jobs_of(settings, {"test": survey(truth).vocabulary})


def test_images_and_queries_are_those_of_the_truth_however_it_lies(url: str, tmp_path: Path) -> None:
    truth = TruthSet.of([url])
    scenes = next(truth.scenes(truth.shards[0]))
    found = gallery(truth, {"dog", "cat"}, 0)
    assert {query_id: {each.sha256 for each in images} for query_id, images in found.items()} == {
        query_id: {scene.sha256 for scene in scenes if any(mask.query_id == query_id for mask in scene.masks)}
        for query_id in ("cat", "dog")
    }
    share = CAT.sum() / CAT.size
    assert [len(images) for images in gallery(truth, {"dog", "cat"}, share + 0.01).values()] == [1, 2]
    other = gallery(TruthSet.of([truth_at(tmp_path, [3, 4, 1, 0, 2])]), {"dog", "cat"}, 0)
    drawn, again = (draw(IMAGES, asked=each, supports=each, shots=1, seed=3) for each in (found, other))
    assert [(each.query_id, each.image.sha256) for each in drawn] == [
        (each.query_id, each.image.sha256) for each in again
    ]
    assert [each.supports[0].sha256 for each in drawn] == [each.supports[0].sha256 for each in again]


def test_rows_that_draw_alike_ask_the_same_and_what_is_written_is_asked_again(url: str, tmp_path: Path) -> None:
    truth = TruthSet.of([url])
    settings = config({"protocol": "picture"}, {}, {"queries": ["cat"], "episodes": "classes"})
    tasks = tasks_of(settings, truth)
    drawn = drawn_episodes(settings, tasks, {"test": truth})
    assert [len(each) for each in drawn.values()] == [4, 7]
    data = written(settings, drawn)
    assert data is not None
    lines = [json.loads(line) for line in data.splitlines()]
    assert [line["rows"] for line in lines] == [["0", "1"]] * 4 + [["2"]] * 7
    path = tmp_path / "episodes.jsonl"
    other = config(
        {"protocol": "picture"},
        {},
        {"queries": ["cat"], "episodes": "classes"},
        supports={"seed": 9, "drawn": str(path)},
    )
    path.write_bytes(data)
    assert drawn_episodes(other, tasks_of(other, truth), {"test": truth}) == drawn
    path.write_bytes(b"".join(data.splitlines(keepends=True)[:3]))
    with pytest.raises(UserError, match=r"episodes\.jsonl: no episode of 2; rows must be named as where"):
        drawn_episodes(other, tasks_of(other, truth), {"test": truth})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: "{", r"line 1: no episode \(JSONDecodeError"),
        (lambda line: json.dumps({**line, "supports": None}), r"line 1: no episode \(TypeError"),
        (lambda line: json.dumps({**line, "image_sha256": "f" * 64}), "line 1: no image of the truth with 'dog' has"),
        (lambda line: json.dumps({**line, "query_id": "cow"}), "line 1: no image of the truth with 'cow' has the"),
        (lambda line: json.dumps({**line, "supports": []}), "line 1: 0 supports, and supports.shots is 1"),
        (
            lambda line: json.dumps({**line, "supports": [{key: line[key] for key in ("image_id", "image_sha256")}]}),
            "line 1: the image that is asked is its own support",
        ),
    ],
)
def test_a_file_that_holds_something_else_is_refused_by_its_line(change: Any, message: str, tmp_path: Path) -> None:
    images = {"dog": [shown(0), shown(1)]}
    episode = Episode("dog", shown(0), (shown(1),))
    path = tmp_path / "episodes.jsonl"
    path.write_text(change(json.loads(episode_lines([(["a"], [episode])]))))
    with pytest.raises(UserError, match=message):
        EpisodeFile(str(path)).of(["a"], asked=images, supports=images, shots=1)


def test_where_nothing_can_be_drawn_it_is_said(url: str) -> None:
    truth = TruthSet.of([url])
    settings = config({"protocol": "picture"}, supports={"shots": 3})
    with pytest.raises(UserError, match="0: no episode can be drawn: no query has 4 images"):
        drawn_episodes(settings, tasks_of(settings, truth), {"test": truth})


def sets_of(settings: EvaluateConfig, truth: TruthSet, checkpoint: Checkpoint) -> tuple[list[Task], EpisodeSets]:
    assert settings.supports is not None
    tasks = tasks_of(settings, truth)
    named = Named(str(checkpoint.folder), None, checkpoint.weights_sha256)

    def embedded(keys: frozenset[tuple[str, str]]) -> dict[tuple[str, str], np.ndarray]:
        assert settings.supports is not None
        spec = SupportSpec(checkpoint=named, truth=truth, mode=settings.supports.mode, smallest=0, wanted=keys)
        found = SupportWorker(spec)(("test", truth.shards[0]))
        assert found.keys() == keys
        return found

    return tasks, episode_sets(drawn_episodes(settings, tasks, {"test": truth}), tasks, embedded)


def test_what_is_asked_is_what_was_drawn(url: str, checkpoint: Checkpoint) -> None:
    truth = TruthSet.of([url])
    scenes = {scene.sha256: scene for scene in next(truth.scenes(truth.shards[0]))}
    settings = config(
        {"protocol": "picture", "episodes": "classes"},
        {"episodes": "classes"},
        {"protocol": "hybrid", "alpha": 0.3, "episodes": "classes"},
        supports={"shots": 1},
    )
    tasks, sets = sets_of(settings, truth, checkpoint)
    (drawn,) = sets.drawn.values()
    asked: dict[tuple[str, str], list[Episode]] = {}
    for each in drawn:
        asked.setdefault((each.query_id, each.image.sha256), []).append(each)
    assert max(map(len, asked.values())) > 1, "an episode that is drawn twice is asked twice"
    scorer = Scorer(Engine(make_model(checkpoint, batch=2, decode_chunk=3)), checkpoint.preprocessing)
    for task in tasks:
        questions = prepare(task, checkpoint, *sets.of(task), shots=1, seed=0)
        for place, thing in enumerate(questions.things):
            for image in scenes:
                found_rc = questions.conditionals(place, image)
                expected = [
                    Query(
                        query_id="",
                        kind="",
                        texts=() if task.asking.protocol == "picture" else (thing.query_id,),
                        templates=() if task.asking.protocol == "picture" else ("{}",),
                        threshold=0.5,
                        supports=(
                            ()
                            if task.asking.protocol == "text"
                            else tuple(support_of(scenes[each.sha256], thing.query_id) for each in episode.supports)
                        ),
                        mode=None if task.asking.protocol == "text" else parse_mode("crop_blur_highlight"),
                        alpha=0.3 if task.asking.protocol == "hybrid" else None,
                    )
                    for episode in asked.get((thing.query_id, image), ())
                ]
                assert len(found_rc) == len(expected)
                if expected:
                    np.testing.assert_allclose(found_rc, embed(expected, checkpoint), atol=1e-5)
        metrics = Metrics()
        metrics.merge(scorer.score(truth, truth.shards[0], [questions])[0])
        by_query = Counter(each.query_id for each in drawn)
        assert {
            asked_query.query_id: counts.images_cb.sum(axis=1).tolist()
            for asked_query, counts in metrics.counts.items()
        } == {query_id: [0, number] for query_id, number in by_query.items()}
        assert all(isinstance(each, AskedQuery) for each in metrics.counts)


def support_of(scene: Any, query_id: str) -> Any:
    (counts,) = [mask.counts for mask in scene.masks if mask.query_id == query_id]
    return make_support("", scene.image, {"size": list(SIZE), "counts": counts}, None)


def test_several_shots_are_averaged_and_other_weights_refused(url: str, checkpoint: Checkpoint) -> None:
    truth = TruthSet.of([url])
    settings = config({"protocol": "picture", "queries": ["dog"]}, supports={"shots": 2})
    (task,), sets = sets_of(settings, truth, checkpoint)
    (drawn,) = sets.drawn.values()
    questions = prepare(task, checkpoint, *sets.of(task), shots=2, seed=0)
    for each in drawn:
        vectors = [sets.vectors["dog", support.sha256] for support in each.supports]
        np.testing.assert_allclose(questions.conditionals(0, each.image.sha256), [np.mean(vectors, 0)], atol=1e-6)
    spec = SupportSpec(
        checkpoint=Named(str(checkpoint.folder), None, "0" * 64),
        truth=truth,
        mode="overlay",
        smallest=0,
        wanted=wanted(drawn),
    )
    with pytest.raises(UserError, match="are not those the driver found there"):
        SupportWorker(spec)
