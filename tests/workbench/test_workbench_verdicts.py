"""Verdicts in the workbench: asked about in the order that estimates need, kept over a restart, read by ``tune``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from clipseg_ray.demo.scenes import scene
from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.tuning.by_verdicts import tune_by_verdicts
from clipseg_ray.verdicts.asking import VERDICTS, order
from clipseg_ray.verdicts.estimates import estimate
from clipseg_ray.verdicts.verdict_file import read
from clipseg_ray.workbench.app import application
from clipseg_ray.workbench.desk import Desk
from clipseg_ray.workbench.judging import Judging
from clipseg_ray.workbench.serving import opened

SCENES = 24


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, set[str]]]:
    """A folder of drawn scenes, and what is in each by its name."""
    folder = tmp_path_factory.mktemp("photographs")
    there = {}
    for number in range(SCENES):
        shown = scene(20_000_000 + number)
        (folder / f"{number:02d}.jpg").write_bytes(shown.jpeg)
        there[f"{number:02d}.jpg"] = {truth.query_id for truth in shown.truth}
    return folder, there


def desk_on(folder: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A workbench with all images read."""
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    desk = opened(str(folder), ["model.checkpoint=builtin:scenes", "model.precision=fp32"], SCENES)
    desk.bench.load()
    return desk


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def desk(photographs: tuple[Path, dict[str, set[str]]], state: Path) -> Iterator[Desk]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield desk_on(photographs[0], state, monkeypatch)


def judged(judging: Judging, desk: Desk, there: dict[str, set[str]], uid: str, name: str, most: int = 10**6) -> Any:
    """All that is asked, answered by who knows the truth."""
    found = judging.described(uid, None)
    asked: list[int] = []
    while found["next"] and len(asked) < most:
        index = found["next"][0]
        asked.append(index)
        found = judging.say(uid, index, name in there[desk.bench.image(index).image_id], None)
    return found, asked


def test_images_are_asked_about_by_stratum_and_the_answers_are_estimated_and_kept(
    desk: Desk,
    photographs: tuple[Path, dict[str, set[str]]],
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    folder, there = photographs
    uid = desk.add({"text": "tail"})["uid"]
    judging = Judging(desk.bench, {"checkpoint": "builtin:scenes"})
    before = judging.described(uid, None)
    assert (before["verdicts"], before["wanted"], before["images"]) == (0, min(VERDICTS, SCENES), SCENES)
    assert before["balanced"] is None
    found, asked = judged(judging, desk, there, uid, "tail", most=12)
    scores = desk.bench.scores(uid)
    (query,) = desk.bench.of_entry(uid)
    names = [desk.bench.image(index).image_id for index in sorted(scores)]
    scores_n = np.array([scores[index] for index in sorted(scores)])
    assert asked == order(scores_n, names, query.question_digest())[:12]
    expected = estimate(scores_n, {index: "tail" in there[names[index]] for index in asked})
    assert expected is not None
    assert found["at"]["threshold"] == expected.threshold_t.tolist()
    assert found["balanced"]["threshold"] == expected.balanced().threshold
    # Taken back, and said again otherwise: the last word counts.
    back = judging.unsay(uid, None)
    assert (back["verdicts"], back["next"][0]) == (11, asked[-1])
    unsure = judging.say(uid, asked[-1], None, None)
    assert unsure["verdicts"] == 11
    assert asked[-1] not in unsure["next"]
    again = judging.say(uid, asked[-1], "tail" in there[names[asked[-1]]], 0.9)
    assert again["at"] == found["at"]
    # Another threshold is the same question; a restart goes on where it was.
    desk.change({uid: {"threshold": 0.3}})
    assert judging.described(uid, None)["at"] == found["at"]
    other = desk_on(folder, state, monkeypatch)
    assert Judging(other.bench, {"checkpoint": "builtin:scenes"}).described(uid, None) == judging.described(uid, None)
    # What is asked otherwise has no verdicts.
    desk.change({uid: {"text": "ear"}})
    assert judging.described(uid, None)["verdicts"] == 0
    desk.change({uid: {"text": "tail"}})
    # tune reads the file, and proposes the same.
    (kept,) = read(judging.place).queries
    assert (kept.query_id, kept.words, len(kept.verdicts), len(kept.images)) == ("tail", "tail", 12, SCENES)
    (tmp_path / "t.csv").write_text("query_id,text\ntail,tail\n")
    tuned = tune_by_verdicts(str(tmp_path / "t.csv"), judging.place, precision=None, threshold=0.5)
    assert tuned.rows.rows[0]["image_threshold"] == pytest.approx(expected.balanced().threshold, abs=1e-4)


def test_what_the_page_sends_is_checked(desk: Desk) -> None:
    uid = desk.add({"text": "duck"})["uid"]
    with TestClient(application(desk)) as client:
        assert client.get(f"/verdicts/{uid}").json()["images"] == SCENES
        for body, says in (
            ({"index": 999, "there": True}, "image 999 of this sample has no score"),
            ({"index": True, "there": True}, "no verdict"),
            ({"index": 0, "there": "yes"}, "no verdict"),
            ({"index": 0, "there": True, "right": 3}, "between 0 and 1"),
            ({"index": 0, "there": True, "right": "<b>"}, "between 0 and 1"),
            ([], "no JSON object"),
        ):
            answer = client.post(f"/verdicts/{uid}", content=json.dumps(body))
            assert (answer.status_code, says in answer.json()["error"]) == (400, True), answer.text
        assert client.get("/verdicts/nobody").status_code == 400
        assert client.get(f"/verdicts/{uid}").json()["verdicts"] == 0
        done = client.post(f"/verdicts/{uid}", content=json.dumps({"index": 3, "there": False, "right": 0.5})).json()
        assert (done["verdicts"], done["there"], done["at"]) == (1, 0, None)
        assert client.post(f"/verdicts/{uid}", content=json.dumps({"back": True})).json()["verdicts"] == 0


def test_kept_verdicts_that_cannot_be_read_are_named(desk: Desk, tmp_path: Path) -> None:
    from clipseg_ray.storage import Store

    bench = type("Bench", (), {"folder": Store.of(str(tmp_path))})()
    for name, data in (("said.json", b"[]"), ("verdicts.json", b"{"), ("said.json", b'{"q": {"a.jpg": 3}}')):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=rf"{name}: the kept verdicts cannot be read"):
            Judging(bench, {})
        (tmp_path / name).unlink()
