"""What CLIP makes of marked pictures: against transformers' CLIP, and what is drawn for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from clipseg_ray.evaluation.config import EvaluateConfig, SupportsConfig
from clipseg_ray.evaluation.likelihoods import Likelihoods
from clipseg_ray.evaluation.metrics import AskedQuery
from clipseg_ray.evaluation.prompt_study import StudySpec, StudyWorker, targets
from clipseg_ray.evaluation.protocols import Asking, Task, jobs_of
from clipseg_ray.evaluation.report_rows import model_rows
from clipseg_ray.evaluation.truth import Scene, TruthSet, survey
from clipseg_ray.evaluation.worker_checkpoint import Named
from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.queries.composition import compose
from clipseg_ray.queries.modes import parse_mode
from clipseg_ray.queries.supports import decode_picture
from tests import reference
from tests.evaluation.world import box, entry, noise, write

SIZE = (70, 110)
DOG, CAT, COW = box(10, 20, 40, 60, SIZE), box(0, 0, 30, 30, SIZE), box(50, 0, 20, 40, SIZE)
SCENES = [
    [entry("dog", DOG, texts=["dog", "hound"]), entry("cat", CAT)],
    [entry("dog", CAT, texts=["dog", "hound"]), entry("cow", COW), entry("cat", DOG)],
    [entry("cat", CAT)],
    [],
]
MODES = ["overlay(background=0.5)", "crop_blur_highlight(published=1)"]


@pytest.fixture(scope="module")
def checkpoint(checkpoint_dir: Path) -> Checkpoint:
    return checkpoints.load(str(checkpoint_dir))


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> TruthSet:
    samples = [
        (f"{i:03d}", noise(i, *SIZE), {"truth": entries, "height": SIZE[0], "width": SIZE[1]})
        for i, entries in enumerate(SCENES)
    ]
    return TruthSet.of([write(str(tmp_path_factory.mktemp("truth")), samples)])


def settings() -> EvaluateConfig:
    rows: list[dict[str, Any]] = [
        {"name": mode, "protocol": "clip", "mode": mode, "template": "fixed" if number else "plain"}
        for number, mode in enumerate(MODES)
    ]
    return EvaluateConfig.parse(
        {
            "truth": {"test": "a/"},
            "model": {"checkpoint": "d/"},
            "supports": {"truth": "test", "smallest": 0, "number": 10},
            "rows": rows,
            "output": {"url": "e/"},
        }
    )


def by_transformers(checkpoint: Checkpoint, scene: Scene, target: str, mode: str, template: str) -> list[float]:
    """The target's probability, marked and as the picture is."""
    clip, tokenizer = reference.model_of(checkpoint).clip, reference.tokenizer_of(checkpoint)
    planes = scene.planes()
    picture_hwc = decode_picture(scene.image)
    names = [mask.texts[0] for mask in scene.masks]
    pixels = [
        compose(picture_hwc, planes[target][0].T, parse_mode(mode), checkpoint.preprocessing),
        compose(picture_hwc, None, parse_mode("whole"), checkpoint.preprocessing),
    ]
    with torch.inference_mode():
        words = []
        for name in names:
            tokens = tokenizer([template.replace("{}", name)], return_tensors="pt")
            words.append(clip.text_projection(clip.text_model(**tokens).pooler_output)[0])
        pictures = [
            clip.visual_projection(
                clip.vision_model(torch.from_numpy(each)[None], interpolate_pos_encoding=True).pooler_output
            )[0]
            for each in pixels
        ]
        logits = clip.logit_scale.exp() * torch.nn.functional.cosine_similarity(
            torch.stack(pictures)[:, None], torch.stack(words)[None], dim=-1
        )
        found: list[float] = logits.softmax(1)[:, [mask.query_id for mask in scene.masks].index(target)].tolist()
    return found


def test_probabilities_are_those_of_transformers_clip(truth: TruthSet, checkpoint: Checkpoint) -> None:
    config = settings()
    tasks = jobs_of(config, {"test": survey(truth).vocabulary})
    assert [task.asking.mode for task in tasks] == MODES
    assert config.supports is not None
    drawn = targets(truth, {"dog", "cat", "cow"}, config.supports)
    scenes = {scene.sha256: scene for scene in next(truth.scenes(truth.shards[0]))}
    assert {len(scenes[image].masks) for image in drawn} == {2, 3}, "an image with one thing says nothing"
    spec = StudySpec(
        checkpoint=Named(str(checkpoint.folder), None, checkpoint.weights_sha256),
        truth={"test": truth},
        tasks=tuple(tasks),
        targets=(drawn, drawn),
    )
    counts = StudyWorker(spec)(("test", truth.shards[0]))
    report = model_rows(config, {("test", task.asking): each for task, each in zip(tasks, counts, strict=True)})
    for row, mode, template in zip(report.rows, MODES, ("{}", "a photo of a {}."), strict=True):
        expected = [
            by_transformers(checkpoint, scenes[image], target, mode, template) for image, target in drawn.items()
        ]
        marked, plain = (sum(each) / len(each) for each in zip(*expected, strict=True))
        assert row.scores.object_probability == pytest.approx(marked, abs=1e-5)
        assert row.scores.object_gain == pytest.approx(marked - plain, abs=1e-5)
        assert abs(marked - plain) > 1e-4
        assert (row.scores.images_present, row.scores.miou, row.thresholds) == (2, None, {})
    assert report.notes == []
    assert report.also_at == []


def test_targets_follow_the_seed_and_the_limits(truth: TruthSet) -> None:
    def drawn(**changes: Any) -> dict[str, str]:
        return targets(truth, {"dog", "cat", "cow"}, SupportsConfig(truth="test", **{"smallest": 0, **changes}))

    assert drawn() == drawn()
    assert len({tuple(sorted(drawn(seed=seed).items())) for seed in range(20)}) > 2
    assert len(drawn(number=1)) == 1
    assert {*drawn(smallest=0.2).values()} == {"dog", "cat"}, "of the second image the cat alone is so large"
    assert targets(truth, {"cow"}, SupportsConfig(truth="test", smallest=0.0)).keys() < drawn().keys()


def test_sums_know_no_order() -> None:
    parts = [Likelihoods(), Likelihoods()]
    values = [(0.3, 0.1), (1 / 3, 0.7), (0.9, 0.2)]
    for place, (marked, plain) in enumerate(values):
        parts[place % 2].update(AskedQuery("object", "dog" if place else "cat"), marked, plain)
    one, other = Likelihoods(), Likelihoods()
    for each in parts:
        one.merge(each)
    for each in reversed(parts):
        other.merge(each)
    every = one.scores(lambda asked: True)
    assert every == other.scores(lambda asked: True)
    assert every.object_probability == pytest.approx(sum(marked for marked, _ in values) / 3)
    assert one.scores(lambda asked: asked.query_id == "cat").object_gain == pytest.approx(0.2)
    assert one.scores(lambda asked: False).object_gain is None
    assert isinstance(Task("t", Asking(protocol="clip"), (), True).asking.counts(), Likelihoods)
