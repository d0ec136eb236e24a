"""Every pixel to the class of a group that wants it most, as zero-shot segmentation is measured: no threshold.

The truth of a class is the union over its ``concept``; the one class without a concept is the background, all that is
none of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.answers import Answers
from clipseg_ray.evaluation.metrics import AskedQuery
from clipseg_ray.evaluation.questions import Questions
from clipseg_ray.evaluation.table_answers import table_answers
from clipseg_ray.evaluation.truth import Scene, Thing
from clipseg_ray.model.engine import Engine


def count_winners(
    engine: Engine,
    features: Any,
    questions: Questions,
    scenes: Sequence[Scene],
    *,
    planes: Sequence[Mapping[str, Sequence[np.ndarray]]],
    ignored: Sequence[np.ndarray | None],
    answers: Answers,
) -> None:
    """Count for each class of a group the pixels that it won on each scene.

    Raises UserError for a scene whose truth does not say of every class whether it is there, or gives a pixel to two.
    """
    assert questions.prompt_set is not None
    things = {thing.query_id: thing for thing in questions.things}
    asked = [things[query.query_id] for query in questions.prompt_set.queries]
    labels = [_labels(asked, *each) for each in zip(scenes, planes, ignored, strict=True)]
    for image, query, probability_wh, score in table_answers(engine, features, questions.prompt_set, scenes):
        scene, thing = scenes[image], asked[query]
        won_wh = probability_wh > 0
        answers.update(
            AskedQuery(thing.kind, thing.query_id),
            mask_hw=won_wh if won_wh.any() else None,
            label_hw=labels[image][query],
            ignore_hw=ignored[image],
            score=score,
            size=scene.height * scene.width,
        )


def _labels(
    asked: Sequence[Thing],
    scene: Scene,
    planes: Mapping[str, Sequence[np.ndarray]],
    ignored_wh: np.ndarray | None,
) -> list[np.ndarray | None]:
    """The true pixels of each class, bool [width, height]; None where there are none."""
    taken_wh = np.zeros((scene.width, scene.height), np.bool_) if ignored_wh is None else ignored_wh.copy()
    found: dict[str, np.ndarray | None] = {}
    for thing in asked:
        if not thing.concept:
            continue
        answer = thing.labels(scene, planes)
        if not answer:
            raise UserError(
                f"{scene.image_id}: its truth does not say whether {thing.query_id!r} is there, and argmax asks all "
                "classes; of voc make it with --smallest 1"
            )
        label_wh = found[thing.query_id] = answer[0]
        if label_wh is None:
            continue
        if ignored_wh is not None:
            label_wh = label_wh & ~ignored_wh
        if (taken_wh & label_wh).any():
            raise UserError(
                f"{scene.image_id}: {thing.query_id!r} shares true pixels with another class; argmax needs one"
            )
        taken_wh |= label_wh
    return [found[thing.query_id] if thing.concept else ~taken_wh for thing in asked]
