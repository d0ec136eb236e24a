"""Zero-shot segmentation: every pixel to one class of a group, against a confusion matrix from transformers' logits."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.answers import Answers
from clipseg_ray.evaluation.config import EvaluateConfig
from clipseg_ray.evaluation.metrics import AskedQuery
from clipseg_ray.evaluation.protocols import Asking, jobs_of
from clipseg_ray.evaluation.questions import prepare
from clipseg_ray.evaluation.report_rows import model_rows
from clipseg_ray.evaluation.scoring import Scorer
from clipseg_ray.evaluation.splits import PASCAL, pascal_unseen
from clipseg_ray.evaluation.truth import TruthSet, survey
from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.model.embedding import normalise
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.pixels.decode import decode
from clipseg_ray.queries.table import load_queries
from tests import reference
from tests.evaluation.world import box, entry, noise, rle, write

SIZE = (70, 110)
CLASSES = ["background", "dog", "cat", "horse"]
WEIGHTS = [1.05, 1.0, 1.0, 1.0]
TABLE = [
    {"query_id": "background", "kind": "background", "text": "background", "group": "all", "weight": 1.05},
    *({"query_id": name, "kind": "object", "text": name, "concept": name, "group": "all"} for name in CLASSES[1:]),
]


@pytest.fixture(scope="module")
def checkpoint(checkpoint_dir: Path) -> Checkpoint:
    return checkpoints.load(str(checkpoint_dir))


def table_of(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "classes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def maps() -> list[np.ndarray]:
    """Label maps, int [h, w]: places in CLASSES, 255 for what counts for nothing; one of them all background."""
    random = np.random.default_rng(3)
    found = []
    for _ in range(4):
        label_hw = np.zeros(SIZE, np.int64)
        for number in random.permutation(3) + 1:
            top, left = random.integers(0, 40), random.integers(0, 70)
            label_hw[top : top + random.integers(10, 40), left : left + random.integers(10, 50)] = number
        label_hw[:, :3] = 255
        found.append(label_hw)
    return [*found, np.zeros(SIZE, np.int64)]


def truth_of(folder: Path, labels: list[np.ndarray]) -> TruthSet:
    samples = []
    for place, label_hw in enumerate(labels):
        entries = [entry(CLASSES[n], label_hw == n) for n in (1, 2, 3) if (label_hw == n).any()]
        sidecar = {"truth": entries, "height": SIZE[0], "width": SIZE[1]}
        if (label_hw == 255).any():
            sidecar["ignore"] = rle(label_hw == 255)
        samples.append((f"{place:03d}", noise(place, *SIZE), sidecar))
    return TruthSet.of([write(str(folder), samples)])


def config(table: str, **row: Any) -> EvaluateConfig:
    rows = [{"name": "zero-shot", "protocol": "argmax", "table": table, **row}]
    values = {"truth": {"test": "a/"}, "model": {"checkpoint": "c/"}, "rows": rows, "output": {"url": "d/"}}
    return EvaluateConfig.parse(values)


def measured(truth: TruthSet, table: str, checkpoint: Checkpoint) -> Answers:
    vocabulary = survey(truth).vocabulary
    (job,) = jobs_of(config(table), {"test": vocabulary})
    scorer = Scorer(Engine(make_model(checkpoint, batch=2, decode_chunk=3)), checkpoint.preprocessing)
    answers = Answers()
    for shard in truth.shards:
        (found,) = scorer.score(truth, shard, [prepare(job, checkpoint, {})])
        assert isinstance(found, Answers)
        answers.merge(found)
    return answers


def confusion(checkpoint: Checkpoint, truth: TruthSet, labels: list[np.ndarray]) -> np.ndarray:
    """[true, given], int64, by transformers' logits, resized; the first of equals."""
    found = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    model = reference.model_of(checkpoint)
    tokens = reference.tokenizer_of(checkpoint)(CLASSES, return_tensors="pt", padding=True)
    scenes = [scene for shard in truth.shards for scenes in truth.scenes(shard) for scene in scenes]
    for scene, label_hw in zip(scenes, labels, strict=True):
        pixels_nhwc = torch.from_numpy(decode(scene.image, checkpoint.preprocessing).pixels_hwc)[None]
        pixels = normalise(pixels_nhwc, checkpoint.preprocessing).expand(len(CLASSES), -1, -1, -1)
        with torch.inference_mode():
            logits_qhw = model(pixel_values=pixels, **tokens).logits
        resized_qhw = F.interpolate(logits_qhw[None], SIZE, mode="bilinear", align_corners=False)[0]
        weighted_qhw = torch.sigmoid(resized_qhw.double()) * torch.tensor(WEIGHTS)[:, None, None]
        winner_hw = weighted_qhw.argmax(0).numpy()
        counted_hw = label_hw != 255
        np.add.at(found, (label_hw[counted_hw], winner_hw[counted_hw]), 1)
    return found


def test_classes_seen_and_unseen_are_those_of_a_confusion_matrix(tmp_path: Path, checkpoint: Checkpoint) -> None:
    labels = maps()
    truth, table = truth_of(tmp_path / "truth", labels), table_of(tmp_path, TABLE)
    answers = measured(truth, table, checkpoint)
    matrix = confusion(checkpoint, truth, labels)
    iou_c = np.diag(matrix) / (matrix.sum(0) + matrix.sum(1) - np.diag(matrix))
    assert np.count_nonzero(matrix.sum(0)) > 1, "several classes win somewhere"
    for name, iou in zip(CLASSES, iou_c, strict=True):
        kind = "background" if name == "background" else "object"
        own = answers.scores(partial(AskedQuery.__eq__, AskedQuery(kind, name)))
        assert own.iou_fg == pytest.approx(iou, abs=2e-3), name
    settings = config(table, unseen=["cat", "horse"])
    tables = model_rows(settings, {("test", Asking.of(settings.rows[0])): answers})
    (row,), queries = tables.rows, tables.queries
    seen, unseen = iou_c[:2].mean(), iou_c[2:].mean()
    assert row.scores.miou == pytest.approx(iou_c.mean(), abs=2e-3)
    assert row.scores.miou_seen == pytest.approx(seen, abs=2e-3)
    assert row.scores.miou_unseen == pytest.approx(unseen, abs=2e-3)
    exact = 2 * row.scores.miou_seen * row.scores.miou_unseen / (row.scores.miou_seen + row.scores.miou_unseen)
    assert row.scores.miou_harmonic == pytest.approx(exact)
    assert row.thresholds == {}
    assert queries["query_id"].to_pylist() == [None, "background", None, "cat", "dog", "horse"]


def test_every_pixel_that_counts_goes_to_one_class(tmp_path: Path, checkpoint: Checkpoint) -> None:
    labels = maps()
    answers = measured(truth_of(tmp_path / "truth", labels), table_of(tmp_path, TABLE), checkpoint)
    tallies = [answer.absent + answer.present for answer in answers.answers.values()]
    pixels = sum(int((label_hw != 255).sum()) for label_hw in labels)
    assert sum(tally.true_positive + tally.false_positive for tally in tallies) == pixels
    assert sum(tally.true_positive + tally.false_negative for tally in tallies) == pixels


def test_what_cannot_be_decided_is_named(tmp_path: Path, checkpoint: Checkpoint) -> None:
    table = table_of(tmp_path, TABLE)
    size = {"height": SIZE[0], "width": SIZE[1]}
    both = {"truth": [entry("dog", box(0, 0, 30, 30, SIZE)), entry("cat", box(20, 20, 30, 30, SIZE))], **size}
    truth = TruthSet.of([write(str(tmp_path / "both"), [("a", noise(0, *SIZE), both)])])
    with pytest.raises(UserError, match="a: 'dog' shares true pixels with another class"):
        measured(truth, table, checkpoint)
    some = {"truth": [entry("dog", box(0, 0, 30, 30, SIZE))], "absent": [], **size}
    truth = TruthSet.of([write(str(tmp_path / "some"), [("a", noise(0, *SIZE), some)])])
    with pytest.raises(UserError, match="a: its truth does not say whether 'cat' is there"):
        measured(truth, table, checkpoint)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*TABLE, {"query_id": "odd", "text": "odd", "concept": "cat"}], "argmax needs a table that is one group"),
        ([TABLE[0], {**TABLE[1], "keep": False}, *TABLE[2:]], "argmax needs a table that is one group"),
        ([*TABLE, {"query_id": "odd", "text": "odd", "group": "all"}], "background, odd have no concept"),
    ],
)
def test_a_table_that_is_no_group_of_classes_is_named(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    truth = truth_of(tmp_path / "truth", maps())
    with pytest.raises(UserError, match=message):
        jobs_of(config(table_of(tmp_path, rows)), {"test": survey(truth).vocabulary})


def test_an_unseen_class_there_is_not_is_named(tmp_path: Path) -> None:
    settings = config("classes.jsonl", unseen=["hors"])
    answers = Answers()
    for name in CLASSES:
        answers.update(AskedQuery("object", name), None, np.ones((2, 2), bool), None, score=0.0, size=4)
    with pytest.raises(UserError, match=r"row 'zero-shot': unseen: 'hors' is not asked; did you mean horse\?"):
        model_rows(settings, {("test", Asking.of(settings.rows[0])): answers})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"protocol": "argmax"}, r"rows\.0\.table: goes with protocol: table or argmax"),
        (
            {"protocol": "argmax", "table": "t.csv", "pictures": "present"},
            r"rows\.0\.pictures: every image has a winner",
        ),
    ],
)
def test_settings_that_cannot_be(row: dict[str, Any], message: str) -> None:
    values = {"truth": {"test": "a/"}, "model": {"checkpoint": "c/"}, "output": {"url": "d/"}}
    with pytest.raises(UserError, match=message):
        EvaluateConfig.parse({**values, "rows": [{"name": "r", **row}]})


def test_the_authors_classes_are_one_group_with_a_background() -> None:
    queries = load_queries("configs/pascal-voc.csv", None, 0.5)
    assert [query.query_id for query in queries] == ["background", *PASCAL]
    assert [query.weight for query in queries] == [3.0] + [1.0] * 20
    assert [query.concept for query in queries] == [(), *((name,) for name in PASCAL)]
    assert {query.group for query in queries} == {"voc"}
    assert set(pascal_unseen(10)) < {query.query_id for query in queries}
