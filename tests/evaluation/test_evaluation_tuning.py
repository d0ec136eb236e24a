"""Thresholds of a table: the best by brute force, the same from whatever the truth is written in, all else kept."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.counts import THRESHOLDS
from clipseg_ray.evaluation.metrics import Metrics
from clipseg_ray.evaluation.protocols import Asking, Task
from clipseg_ray.evaluation.questions import prepare
from clipseg_ray.evaluation.scoring import Scorer
from clipseg_ray.evaluation.truth import Thing, TruthSet, survey
from clipseg_ray.evaluation.tuning.by_truth import tune_by_truth
from clipseg_ray.evaluation.tuning.job import count
from clipseg_ray.evaluation.tuning.labelled_images import labelled_images
from clipseg_ray.evaluation.tuning.matching import things_of
from clipseg_ray.evaluation.tuning.resampling import RESAMPLES, ResampledCounts, weights_of
from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.model.precision import resolve_precision
from clipseg_ray.queries.query import Query
from clipseg_ray.queries.table import load_queries, numbered_queries
from clipseg_ray.queries.table_file import read_rows
from clipseg_ray.verdicts.asking import order
from clipseg_ray.verdicts.estimates import estimate
from clipseg_ray.verdicts.verdict_file import JudgedQuery, VerdictFile, written
from tests.evaluation.releases import label_map, photograph, save_map
from tests.evaluation.world import entry, write

RunProgram = Callable[..., tuple[int, str, str]]


# Counting


def sha256_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def images(seed: int, number: int = 12) -> list[tuple[np.ndarray, np.ndarray | None, np.ndarray | None, str]]:
    """(probability, label, ignored, name) of images small enough to count pixel by pixel."""
    rng = np.random.default_rng(seed)
    found = []
    for n in range(number):
        probability_wh = rng.random((7, 5)).astype(np.float32)
        probability_wh[0, 0] = np.float32(0.5)  # on a threshold: outside
        label_wh = (probability_wh + rng.normal(0, 0.4, (7, 5)) > 0.7) if n % 3 else None
        ignored_wh = rng.random((7, 5)) > 0.8 if n % 4 == 1 else None
        found.append((probability_wh, label_wh, ignored_wh, sha256_of(seed * 1000 + n)))
    return found


def brute_force(found: list[tuple[Any, ...]], threshold: float, sample: int) -> float:
    true = false = missed = 0
    for probability_wh, label_wh, ignored_wh, sha256 in found:
        weight = int(weights_of(sha256)[sample])
        for place, probability in np.ndenumerate(probability_wh):
            if ignored_wh is not None and ignored_wh[place]:
                continue
            inside, right = float(probability) > threshold, label_wh is not None and bool(label_wh[place])
            true += weight * (inside and right)
            false += weight * (inside and not right)
            missed += weight * (right and not inside)
    return true / (true + false + missed)


def counted(found: list[tuple[Any, ...]], own: float) -> ResampledCounts:
    counts = ResampledCounts(own=own)
    for probability_wh, label_wh, ignored_wh, sha256 in found:
        counts.update(probability_wh, label_wh, ignored_wh, weights_of(sha256))
    return counts


def test_the_best_threshold_is_that_of_brute_force_and_so_is_every_resample() -> None:
    found = images(4)
    counts = counted(found, own=0.335)
    best = counts.best()
    assert best is not None
    each = [brute_force(found, threshold, 0) for threshold in THRESHOLDS]
    assert best.iou_fg == pytest.approx(max(each))
    assert best.threshold == THRESHOLDS[each.index(max(each))]
    assert best.own_iou_fg == pytest.approx(brute_force(found, 0.335, 0))
    for sample in (1, 7, RESAMPLES):
        resampled_t = counts.true_rt[sample] / (counts.foreground_r[sample] + counts.false_rt[sample])
        for index in (0, 20, 48):
            assert resampled_t[index] == pytest.approx(brute_force(found, THRESHOLDS[index], sample))
    assert best.bounds[0] <= best.threshold <= best.bounds[1]
    assert best.iou_bounds[0] < best.iou_fg < best.iou_bounds[1]
    assert (counts.present, counts.absent) == (8, 4)


def test_counts_add_up_in_any_order() -> None:
    found = images(9)
    whole = counted(found, 0.5)
    parts = counted(found[7:], 0.5) + counted(found[:3][::-1], 0.5) + counted(found[3:7], 0.5)
    assert (whole.true_rt == parts.true_rt).all()
    assert (whole.false_rt == parts.false_rt).all()
    assert whole.best() == parts.best()


def test_the_interval_covers_the_iou_of_the_many() -> None:
    """A hundred samples of forty images: the interval of IoU at 0.5 holds that of four thousand images."""
    rng = np.random.default_rng(0)

    def draw(number: int) -> list[tuple[Any, ...]]:
        found = []
        for _ in range(number):
            label_wh = np.zeros((6, 6), bool)
            label_wh[: rng.integers(1, 6)] = True
            sharp = rng.uniform(0.05, 0.6)  # some images are answered better than others
            probability_wh = np.clip(np.where(label_wh, 0.7, 0.3) + rng.normal(0, sharp, (6, 6)), 0, 1)
            found.append((probability_wh.astype(np.float32), label_wh, None, sha256_of(int(rng.integers(2**62)))))
        return found

    def at_half(counts: ResampledCounts) -> np.ndarray:
        at = THRESHOLDS.index(0.5)
        return counts.true_rt[:, at] / (counts.foreground_r + counts.false_rt[:, at])

    true = at_half(counted(draw(4000), 0.5))[0]
    covered = []
    for _ in range(100):
        low, high = np.quantile(at_half(counted(draw(40), 0.5))[1:], (0.025, 0.975))
        covered.append(low <= true <= high)
    assert 0.88 <= np.mean(covered) <= 1.0, np.mean(covered)


def test_without_a_true_pixel_there_is_no_best() -> None:
    counts = ResampledCounts(own=0.5)
    counts.update(np.full((3, 3), 0.9, np.float32), None, None, weights_of("f" * 64))
    assert counts.best() is None
    with pytest.raises(ValueError, match="not between 0 and 1"):
        counts.update(np.full((3, 3), 1.5, np.float32), None, None, weights_of("f" * 64))


# Which truth a query has


def query(query_id: str, texts: tuple[str, ...], concept: tuple[str, ...] = (), keep: bool = True) -> Query:
    return Query(
        query_id=query_id, kind="object", texts=texts, templates=("{}",), threshold=0.5, concept=concept, keep=keep
    )


def test_a_query_is_found_in_the_truth_by_id_then_concept_then_wording() -> None:
    vocabulary = {
        "chair": Thing("chair", "object", ("chair", "seat")),
        "sofa": Thing("sofa", "object", ("sofa", "couch")),
        "mug": Thing("mug", "object", ("mug",)),
    }
    queries = [
        query("chair", ("stool",), concept=("sofa",)),
        query("sit-on", ("something to sit on",), concept=("couch", "throne")),
        query("a-mug", ("a mug", "mug")),
        query("dog", ("dog",)),
        query("sofa", ("sofa",), keep=False),
    ]
    assert [(thing.query_id, thing.concept) for thing in things_of(queries, vocabulary)] == [
        ("chair", ("chair",)),
        ("sit-on", ("couch", "throne")),
        ("a-mug", ("mug",)),
    ]
    with pytest.raises(UserError, match=r"no query of the table.*'muc': did you mean mug\? It has 3 things"):
        things_of([query("muc", ("muc",))], vocabulary)


# Whole tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images with two things, as truth shards, as COCO's JSON and as label maps."""
    folder = tmp_path_factory.mktemp("labelled")
    samples, instances = [], []
    (folder / "images").mkdir()
    for n in range(12):
        name = f"p{n:02d}"
        photograph(folder / "images" / f"{name}.jpg", n)
        label_hw = label_map(n, [0, 1, 2] if n % 3 else [0, 2])
        save_map(folder / "labels" / f"{name}.png", label_hw)
        truth = []
        for number, thing in ((1, "mug"), (2, "lamp")):
            if (label_hw == number).any():
                truth.append(entry(thing, label_hw == number))
                size = list(label_hw.shape)
                instances.append((n, number, {"size": size, "counts": truth[-1]["counts"]}))
        sidecar = {"truth": truth, "height": label_hw.shape[0], "width": label_hw.shape[1]}
        samples.append((name, (folder / "images" / f"{name}.jpg").read_bytes(), sidecar))
    write(str(folder / "shards"), samples)
    height, width = label_hw.shape
    content = {
        "images": [{"id": n, "file_name": f"p{n:02d}.jpg", "height": height, "width": width} for n in range(12)],
        "annotations": [
            {"id": number, "image_id": n, "category_id": category, "segmentation": segmentation}
            for number, (n, category, segmentation) in enumerate(instances)
        ],
        "categories": [{"id": 1, "name": "mug"}, {"id": 2, "name": "lamp"}],
    }
    (folder / "mine.json").write_text(json.dumps(content))
    (folder / "classes.json").write_text(json.dumps({"0": "background", "1": "mug", "2": "lamp"}))
    return folder


TABLE = """query_id,text,threshold,concept,note
mug,a mug,0.35,,007
lights,something that gives light,,lamp|candle,12
dog,a dog,0.6,,2
cat,a cat,,,3
"""


@pytest.fixture
def table(tmp_path: Path) -> str:
    (tmp_path / "t.csv").write_text(TABLE)
    return str(tmp_path / "t.csv")


def sources(folder: Path) -> dict[str, tuple[list[str], dict[str, Any]]]:
    return {
        "shards": ([str(folder / "shards")], {}),
        "coco": ([str(folder / "mine.json")], {"images": str(folder / "images")}),
        "label maps": ([str(folder)], {}),
    }


@pytest.fixture(scope="module")
def counts(folder: Path, checkpoint_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """By how the truth is written, the counts of each query."""
    path = tmp_path_factory.mktemp("table") / "t.csv"
    path.write_text(TABLE)
    queries = load_queries(str(path), None, 0.5)
    return {
        name: count(queries, str(path), labelled_images(*source), str(checkpoint_dir))
        for name, source in sources(folder).items()
    }


def test_the_truth_may_be_written_in_any_of_three_ways(counts: dict[str, dict[str, ResampledCounts]]) -> None:
    first = counts["shards"]
    assert sorted(first) == ["lights", "mug"]
    assert (first["mug"].present, first["mug"].absent) == (8, 4)
    for other in (counts["coco"], counts["label maps"]):
        assert sorted(other) == sorted(first)
        for name in first:
            assert (first[name].true_rt == other[name].true_rt).all()
            assert (first[name].false_rt == other[name].false_rt).all()
            assert (first[name].foreground_r == other[name].foreground_r).all()


def test_the_thresholds_are_those_that_evaluate_would_choose(
    folder: Path, checkpoint_dir: Path, counts: dict[str, dict[str, ResampledCounts]], tmp_path: Path
) -> None:
    rows = [
        {"query_id": "mug", "text": "a mug", "concept": "mug"},
        {"query_id": "lights", "text": "something that gives light", "concept": ["lamp"]},
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asking = Asking(protocol="table", table=str(tmp_path / "t.jsonl"))
    truth = TruthSet.of([str(folder / "shards")])
    checkpoint = checkpoints.load(str(checkpoint_dir))
    task = Task("test", asking, tuple(asking.things(survey(truth).vocabulary)), everywhere=True)
    scorer = Scorer(
        Engine(make_model(checkpoint, precision=resolve_precision("auto", "cpu")[0], batch=2, decode_chunk=3)),
        checkpoint.preprocessing,
    )
    metrics = Metrics()
    for shard in truth.shards:
        found = scorer.score(truth, shard, [prepare(task, checkpoint, {})])[0]
        assert isinstance(found, Metrics)
        metrics.merge(found)
    for name in ("mug", "lights"):
        best = counts["shards"][name].best()
        scores = metrics.scores(lambda asked, name=name: asked.query_id == name)
        assert best is not None
        assert (best.threshold, best.iou_fg) == (scores.best_threshold, pytest.approx(scores.iou_fg))


def test_a_tuned_table_differs_in_thresholds_alone(
    folder: Path, checkpoint_dir: Path, table: str, tmp_path: Path, clipseg_ray: RunProgram
) -> None:
    out = tmp_path / "out" / "tuned.csv"
    arguments = ("tune", table, "--truth", folder / "shards", "-o", out, "--model", checkpoint_dir)
    code, output, errors = clipseg_ray(*arguments)
    assert (code, errors) == (0, ""), errors
    assert f"Written: {out}" in output
    assert "under their id, concept or wording: dog, cat" in output
    rows, before = read_rows(str(out)).rows, read_rows(table).rows
    assert [{**row, "threshold": None} for row in rows] == [{**row, "threshold": None} for row in before]
    assert [row.get("threshold") for row in rows[2:]] == [0.6, None]
    tuned = tune_by_truth(table, [str(folder / "shards")], {}, checkpoint=str(checkpoint_dir), threshold=0.5)
    assert [row["threshold"] for row in rows[:2]] == [row["threshold"] for row in tuned.rows.rows[:2]]
    assert [line[:3] for line in tuned.shown] == [("mug", "8", "4"), ("lights", "12", "0")]
    for line, row in zip(tuned.shown, rows[:2], strict=True):
        assert all(cell in output for cell in line)
        assert line[3] == f"{row['threshold']:.2f}"
    # Again, over what is there: not unless told.
    code, output, errors = clipseg_ray(*arguments)
    assert (code, output) == (2, "")
    assert "tuned.csv: is there already" in errors
    assert clipseg_ray(*arguments, "--replace")[0] == 0


def test_each_share_of_a_sweep_has_its_own_threshold(folder: Path, checkpoint_dir: Path, tmp_path: Path) -> None:
    row = {
        "query_id": "mug",
        "text": "a mug",
        "image": str(folder / "images" / "p01.jpg"),
        "mask": [10, 10, 30, 30],
        "alpha": [0.2, 0.8],
        "concept": "mug",
    }
    (tmp_path / "t.jsonl").write_text(json.dumps(row) + "\n")
    source = str(tmp_path / "t.jsonl")
    tuned = tune_by_truth(source, [str(folder / "shards")], {}, checkpoint=str(checkpoint_dir), threshold=0.5)
    assert [(each["query_id"], each["alpha"]) for each in tuned.rows.rows] == [("mug@0.2", 0.2), ("mug@0.8", 0.8)]
    before = {query.query_id: query.question_digest() for query in load_queries(source, None, 0.5)}
    after = {query.query_id: query for _, query in numbered_queries(tuned.rows, None, 0.5)}
    assert {name: query.question_digest() for name, query in after.items()} == before
    assert [f"{query.threshold:.2f}" for query in after.values()] == [line[3] for line in tuned.shown]


def test_queries_that_compete_are_tuned_among_the_pixels_they_win(
    folder: Path, checkpoint_dir: Path, tmp_path: Path
) -> None:
    rows = [{"query_id": name, "text": name, "group": "things"} for name in ("mug", "lamp")]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    queries = load_queries(str(tmp_path / "t.jsonl"), None, 0.5)
    found = count(queries, "t", labelled_images([str(folder / "shards")], {}), str(checkpoint_dir))
    alone = count(
        [query("mug", ("mug",)), query("lamp", ("lamp",))],
        "t",
        labelled_images([str(folder / "shards")], {}),
        str(checkpoint_dir),
    )
    together, apart = (
        sum(each[name].true_rt[0, 0] + each[name].false_rt[0, 0] for name in ("mug", "lamp")) for each in (found, alone)
    )
    assert together <= 12 * 60 * 80 < apart  # no pixel to two


# What a person gets wrong


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give one of them"),
        (["--truth", "{folder}/shards", "--verdicts", "v.json"], "give one of them"),
        (["--truth", "{folder}/shards", "--images", "x"], "--images: .*truth shards, which have all in them"),
        (["--truth", "{folder}/nowhere"], "nowhere"),
        (["--truth", "{folder}/mine.json", "--images", "{folder}/labels"], "p00.jpg"),
        (["--truth", "{folder}/mine.json", "--truth", "{folder}/shards"], "one source of the format coco"),
        (["--truth", "{folder}/shards", "--precision", "0.9"], "--precision: goes with --verdicts"),
        (["--verdicts", "{folder}/mine.json"], "mine.json: no file of verdicts"),
        (["--verdicts", "{folder}/mine.json", "--labels", "x"], "--labels: goes with --truth"),
        (["--verdicts", "{folder}/mine.json", "--precision", "9"], "between 0 and 1"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    arguments: list[str],
    says: str,
    folder: Path,
    table: str,
    checkpoint_dir: Path,
    tmp_path: Path,
    clipseg_ray: RunProgram,
) -> None:
    given = [each.format(folder=folder) for each in arguments]
    model = [] if "--verdicts" in given else ["--model", checkpoint_dir]
    code, output, errors = clipseg_ray("tune", table, *given, *model, "-o", tmp_path / "o.csv")
    assert (code, output) == (2, "")
    assert errors.startswith("error: ")
    assert re.search(says, errors), errors
    assert not (tmp_path / "o.csv").exists()


# By verdicts


def judged(asked: Query, images_n: int = 200, verdicts: int = 80, question: str | None = None) -> JudgedQuery:
    """Verdicts on a query: there where the score is above a half and luck will have it."""
    rng = np.random.default_rng(len(asked.query_id))
    scores = tuple(rng.random(images_n).round(6).tolist())
    names = tuple(f"{n}.jpg" for n in range(images_n))
    there_n = rng.random(images_n) < np.array(scores) ** 2
    return JudgedQuery(
        query_id=asked.query_id,
        words=asked.words,
        question=question or asked.question_digest(),
        images=names,
        scores=scores,
        verdicts={place: bool(there_n[place]) for place in order(np.array(scores), names, asked.query_id)[:verdicts]},
    )


@pytest.mark.parametrize("precision", [None, 0.8])
def test_verdicts_give_a_threshold_of_images_beside_that_of_pixels(
    precision: float | None, table: str, tmp_path: Path, clipseg_ray: RunProgram
) -> None:
    mug, lights, dog, _ = load_queries(table, None, 0.5)
    file = VerdictFile(model={}, queries=[judged(mug), judged(lights, question="0" * 64), judged(dog, verdicts=0)])
    (tmp_path / "v.json").write_bytes(written(file))
    wish = [] if precision is None else ["--precision", precision]
    code, output, errors = clipseg_ray(
        "tune", table, "--verdicts", tmp_path / "v.json", *wish, "-o", tmp_path / "o.yaml"
    )
    assert (code, errors) == (0, "")
    assert "This is about images found" in output
    assert "lights: no image_threshold: the verdicts are on another question" in output
    assert "dog: no image_threshold: it takes verdicts that it is there and verdicts that it is not" in output
    assert "without verdicts, as they were: cat" in output
    rows = read_rows(str(tmp_path / "o.yaml")).rows
    estimates = estimate(np.array(file.queries[0].scores), file.queries[0].verdicts)
    assert estimates is not None
    proposal = estimates.balanced() if precision is None else estimates.with_precision(precision)
    assert proposal is not None
    assert rows[0]["image_threshold"] == round(proposal.threshold, 4)
    assert [row.get("image_threshold") for row in rows[1:]] == [None, None, None]
    assert [row.get("threshold") for row in rows] == [0.35, None, 0.6, None]
    assert f"{proposal.right.value:.2f}" in output
    # The column is kept by a run, and changes no mask.
    again = load_queries(str(tmp_path / "o.yaml"), None, 0.5)
    assert [each.digest() for each in again] == [each.digest() for each in load_queries(table, None, 0.5)]
    assert again[0].columns["image_threshold"] == rows[0]["image_threshold"]


def test_verdicts_on_nothing_in_the_table_are_refused(table: str, tmp_path: Path, clipseg_ray: RunProgram) -> None:
    file = VerdictFile(model={}, queries=[judged(query("mugg", ("mug",)))])
    (tmp_path / "v.json").write_bytes(written(file))
    code, _, errors = clipseg_ray("tune", table, "--verdicts", tmp_path / "v.json", "-o", tmp_path / "o.csv")
    assert code == 2
    assert "on no query of" in errors
    assert "did you mean its mug?" in errors
