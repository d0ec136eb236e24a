"""Query tables asked of a model: who has a truth, and that those who compete get what a run gives them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.answers import Answers
from clipseg_ray.evaluation.config import EvaluatedMasks
from clipseg_ray.evaluation.counts import index_of
from clipseg_ray.evaluation.given import GivenMasks, truth_of
from clipseg_ray.evaluation.metrics import AskedQuery, Metrics
from clipseg_ray.evaluation.protocols import Asking, Task, table_queries
from clipseg_ray.evaluation.questions import Questions, prepare
from clipseg_ray.evaluation.scoring import Scorer
from clipseg_ray.evaluation.truth import TruthSet, survey
from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from tests.evaluation.world import write_scenes
from tests.made import make
from tests.pipeline.world import settings

ROWS = [
    {"query_id": "duck", "text": "a duck", "concept": "duck", "group": "names"},
    {"query_id": "lamp", "text": "a lamp", "concept": "lamp", "group": "names"},
    {"query_id": "thing", "text": "a thing", "group": "names"},
    {"query_id": "rest", "text": "background", "concept": "boat", "group": "names", "weight": 3, "keep": False},
    {"query_id": "flies", "text": "something that flies", "concept": ["duck", "bird", "airplane"]},
    {"query_id": "other-flier", "expression": "flies AND NOT duck", "concept": ["bird", "airplane"]},
    {"query_id": "fish", "text": "a fish", "concept": "fish", "suppress": ["duck", "lamp"]},
    {"query_id": "odd", "text": "odd", "suppress": ["duck"]},
]
ASKED = ["duck", "fish", "flies", "lamp", "other-flier"]


def table(folder: Path, rows: list[dict], name: str = "t.jsonl") -> str:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve scenes with their truth, in ``truth``, larger than the model's grid."""
    folder = tmp_path_factory.mktemp("tables")
    write_scenes(str(folder / "truth"), shards=2, images=6, seed=5, side=140)
    return folder


@pytest.fixture(scope="module")
def truth(folder: Path) -> TruthSet:
    return TruthSet.of([str(folder / "truth")], str(folder / "truth"))


def asked(
    truth: TruthSet, table: str, checkpoint_dir: Path, *, everywhere: bool = True, query_ids: list[str] | None = None
) -> tuple[Questions, Metrics]:
    """What an evaluation asks, of all queries of a table or of some, and counts."""
    checkpoint = checkpoints.load(str(checkpoint_dir))
    asking = Asking(protocol="table", table=table)
    things = [t for t in asking.things(survey(truth).vocabulary) if query_ids is None or t.query_id in query_ids]
    questions = prepare(Task("test", asking, tuple(things), everywhere), checkpoint, {})
    scorer = Scorer(Engine(make_model(checkpoint, batch=2, decode_chunk=3)), checkpoint.preprocessing)
    metrics = Metrics()
    for shard in truth.shards:
        metrics.merge(scorer.score(truth, shard, [questions])[0])
    return questions, metrics


def test_who_competes_gets_on_a_model_the_pixels_that_a_run_gives(
    folder: Path, truth: TruthSet, checkpoint_dir: Path, tmp_path: Path
) -> None:
    rows = table(tmp_path, ROWS)
    _, metrics = asked(truth, rows, checkpoint_dir)
    assert sorted(name for _, name in metrics.counts) == ASKED
    make(settings(str(folder / "truth"), str(tmp_path / "out"), checkpoint_dir, rows, masks={"size": "image"}))
    vocabulary = survey(truth).vocabulary
    wanted = truth_of(EvaluatedMasks(url=str(tmp_path / "out"), match="concept"), vocabulary)
    given, answers = GivenMasks(str(tmp_path / "out"), wanted, keep_empty=True), Answers()
    for shard in truth.shards:
        answers.merge(given.score(truth, shard))
    assert answers.answers.keys() == metrics.counts.keys()
    some = 0
    for query, counts in metrics.counts.items():
        found, expected = counts.at(index_of(0.5)), answers.answers[query].absent + answers.answers[query].present
        if query.query_id == "flies":  # alone: probabilities are resized, where a run resizes logits
            assert found.true_positive == pytest.approx(expected.true_positive, rel=0.05)
            continue
        for field in ("true_positive", "false_positive", "false_negative", "true_negative", "share_sum"):
            assert getattr(found, field) == getattr(expected, field), (query, field)
        assert np.array_equal(counts.images_cb, answers.answers[query].images_cb), query
        some += found.true_positive + found.false_positive
    assert some > 1000


def test_only_those_with_a_truth_are_counted_and_all_that_they_need_is_asked(
    truth: TruthSet, checkpoint_dir: Path, tmp_path: Path
) -> None:
    rows = table(tmp_path, ROWS)
    questions, metrics = asked(truth, rows, checkpoint_dir)
    assert questions.prompt_set is not None
    assert [query.query_id for query in questions.prompt_set.queries] == ASKED
    assert {query.query_id for query in questions.prompt_set.members} == {*ASKED, "thing", "rest"}
    _, fewer = asked(truth, rows, checkpoint_dir, query_ids=["fish", "other-flier"])
    assert sorted(name for _, name in fewer.counts) == ["fish", "other-flier"]
    for query, counts in fewer.counts.items():
        assert counts.at(index_of(0.5)) == metrics.counts[query].at(index_of(0.5))
    _, present = asked(truth, rows, checkpoint_dir, everywhere=False)
    for query, counts in present.counts.items():
        assert counts.at(index_of(0.3)) == metrics.counts[query].where_present().at(index_of(0.3))


def test_a_query_alone_is_what_it_is_beside_others_that_compete(
    truth: TruthSet, checkpoint_dir: Path, tmp_path: Path
) -> None:
    _, metrics = asked(truth, table(tmp_path, ROWS), checkpoint_dir)
    _, alone = asked(truth, table(tmp_path, [ROWS[4]], "alone.jsonl"), checkpoint_dir)
    flies = AskedQuery("phrase", "flies")
    assert list(alone.counts) == [flies]
    assert alone.counts[flies].at(index_of(0.5)) == metrics.counts[flies].at(index_of(0.5))


def test_a_table_says_by_its_concepts_what_is_right(tmp_path: Path) -> None:
    dog = {"query_id": "dog", "text": "dog"}
    rest = {"query_id": "rest", "text": "background", "concept": "rest", "keep": False}
    odd = {"query_id": "odd", "text": "odd", "suppress": "rest"}
    with pytest.raises(UserError, match="no query has a concept"):
        table_queries(table(tmp_path, [dog, rest, odd]))


def test_numbers_that_are_not_finite_are_named_by_their_query(
    truth: TruthSet, checkpoint_dir: Path, tmp_path: Path
) -> None:
    checkpoint = checkpoints.load(str(checkpoint_dir))
    asking = Asking(protocol="table", table=table(tmp_path, ROWS))
    things = tuple(asking.things(survey(truth).vocabulary))
    questions = prepare(Task("test", asking, things, True), checkpoint, {})
    assert questions.prompt_set is not None
    broken = questions.prompt_set.conditionals_qc.copy()
    broken[[query.query_id for query in questions.prompt_set.prompts].index("rest")] = np.nan
    spoilt = replace(questions, prompt_set=replace(questions.prompt_set, conditionals_qc=broken))
    scorer = Scorer(Engine(make_model(checkpoint, batch=2, decode_chunk=3)), checkpoint.preprocessing)
    with pytest.raises(UserError, match="the model's answer to 'rest' is not finite"):
        scorer.score(truth, truth.shards[0], [spoilt])
