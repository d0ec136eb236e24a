"""The server as a whole: answers that are a run's, a list that survives, and nothing for hostile requests."""

from __future__ import annotations

import base64
import json
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from clipseg_ray import Predictor, dataset
from clipseg_ray.errors import UserError
from clipseg_ray.workbench import serving
from tests.made import make
from tests.workbench.served import MODEL, Served, draw, served

IMAGES = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = draw(tmp_path_factory.mktemp("workbench") / "photos", IMAGES)
    (drawn / "broken.png").write_bytes(b"no picture")
    return drawn


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path / "cwd"


@pytest.fixture
def bench(folder: Path, here: Path) -> Iterator[Served]:
    with served(str(folder)) as bench:
        yield bench


def masks_of(bench: Served, body: Any, threshold: float) -> dict[str, np.ndarray]:
    """By image id, the mask that the page draws at a threshold."""
    ids = {value["index"]: value["id"] for name, value in bench.events("GET", "images") if name == "image"}
    events = bench.events("POST", "ask", body)
    borders = events[0][1]["borders"]
    place, found = borders.index(threshold), {}
    for value in (value for name, value in events if name == "answer"):
        levels = np.frombuffer(zlib.decompress(base64.b64decode(value["levels"])), np.uint8)
        found[ids[value["index"]]] = levels.reshape(value["size"]) > place
    return found


def test_what_the_page_shows_is_what_a_run_of_the_saved_table_finds(folder: Path, bench: Served, here: Path) -> None:
    uids = {}
    for text, threshold in [("something to sit on", 0.4), ("a chair", 0.5), ("a bicycle", 0.3), ("a lamp", 0.275)]:
        added = bench.json("POST", "queries", {"text": text, "threshold": threshold})
        uids[added["queries"][-1]["query_id"]] = added["uid"]
    bench.events("GET", "images")  # all of them are there then
    picture = bench.json("POST", "pictures/of/1")
    boxed = {"id": picture["id"], "box": [20, 30, 90, 80]}
    blend = {"query_id": "like-that", "text": "a thing", "picture": boxed, "alpha": 0.6, "threshold": 0.2}
    bench.json("POST", "queries", blend)
    bench.json("PATCH", "queries", {uids["a-chair"]: {"group": "g"}, uids["a-lamp"]: {"group": "g"}})
    listed = bench.json("PATCH", "queries", {uids["something-to-sit-on"]: {"suppress": ["a-bicycle"]}})["queries"]
    saved = bench.json("POST", "save", {"name": "queries.csv"})
    assert saved == {
        "saved": str(here / "queries.csv"),
        "next": [
            f"clipseg-ray init {folder} -o run.yaml",
            f"clipseg-ray run run.yaml -s {MODEL} -s queries.table=queries.csv",
        ],
    }
    make(
        {
            "input": {"url": str(folder)},
            "output": {"url": str(here / "out")},
            "model": {"checkpoint": "builtin:scenes"},
            "queries": {"table": saved["saved"]},
        }
    )
    with dataset.open(str(here / "out")) as found:
        rows = {(row["query_id"], row["image_id"]): row for row in found.to_arrow().to_pylist()}
    assert len(rows) == len(listed) * IMAGES
    found_any = 0
    for entry in listed:
        drawn = masks_of(bench, {"uid": entry["uid"]}, entry["threshold"])
        assert len(drawn) == IMAGES
        for image_id, mask_hw in drawn.items():
            row = rows[entry["query_id"], image_id]
            assert abs(row["area"] - int(mask_hw.sum())) <= 2, (entry["query_id"], image_id)
            found_any += row["area"] > 0
    assert found_any > len(listed)


def test_images_are_seen_as_the_configuration_says_each_at_a_size_of_its_own(here: Path) -> None:
    photos = draw(draw(here / "photos", 2, side=512), 1)
    (here / "run.yaml").write_text(
        "input: {url: photos}\noutput: {url: out}\nmodel: {views: {tiles: 2}}\nmasks: {refine: guided}\n"
    )
    predictor = Predictor("builtin:scenes", views={"tiles": 2}, refine="guided")
    files = sorted(photos.iterdir())
    predictor.set_images([str(path) for path in files], ids=[path.name for path in files])
    wanted = predictor.predict("a chair", threshold=0.3)
    with served("run.yaml") as bench:
        drawn = masks_of(bench, {"query": {"text": "a chair"}}, 0.3)
    assert {name: mask_hw.shape for name, mask_hw in drawn.items()} == {
        "scene-00.png": (256, 256),
        "scene-01.png": (512, 512),
    }
    for name, mask_hw in drawn.items():
        assert np.count_nonzero(mask_hw != wanted.masks(name)[0]) <= 2


def test_before_the_first_question_the_engine_has_been_tried(
    folder: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, stream = [], Predictor.stream

    def seen(self: Predictor, queries: Any, **how: Any) -> Any:
        asked.append(how)
        for rows in stream(self, queries, **how):
            answered.set()
            yield rows

    answered = threading.Event()
    monkeypatch.setattr(Predictor, "stream", seen)
    with served(str(folder)) as bench:
        assert answered.wait(60)
        images = bench.events("GET", "images")
        assert len(images) == IMAGES + 2
    assert asked == [{"probabilities": "float32", "first": 0}], "once, as a question of the page is asked"


def test_every_image_answers_and_those_that_are_none_are_named(bench: Served) -> None:
    images = bench.events("GET", "images")
    assert images[-1] == ("end", {"total": IMAGES + 1, "fault": None})
    by_status = {value["id"]: value["status"] for name, value in images if name == "image"}
    assert by_status == {"broken.png": "undecodable", **{f"scene-{seed:02d}.png": "ok" for seed in range(IMAGES)}}
    events = bench.events("POST", "ask", {"query": {"text": "a dog"}})
    assert [name for name, _ in events] == ["begin", *["answer"] * IMAGES, "end"]
    status, data, headers = bench.request("GET", "thumbnails/1")
    assert (status, headers["content-type"], data[8:12]) == (200, "image/webp", b"WEBP")


def test_of_images_that_are_none_nothing_is_asked_and_all_is_said(here: Path) -> None:
    (here / "photos").mkdir()
    for name in ("one.png", "two.jpg"):
        (here / "photos" / name).write_bytes(b"")
    with served("photos") as bench:
        images = bench.events("GET", "images")
        assert [value.get("status") for _, value in images] == ["empty", "empty", None]
        assert [name for name, _ in bench.events("POST", "ask", {"query": {"text": "a dog"}})] == ["begin", "end"]


def test_the_list_and_the_view_survive_a_restart(folder: Path, here: Path) -> None:
    with served(str(folder)) as first:
        first.json("POST", "queries", {"text": "a dog"})
        cat = first.json("POST", "queries", {"text": "a cat", "threshold": 0.3})
        dog = cat["queries"][0]["uid"]
        moved = first.json("POST", "order", {"uid": cat["uid"], "before": dog})
        assert [each["query_id"] for each in moved["queries"]] == ["a-cat", "a-dog"]
        assert first.request("POST", "order", {"uid": dog, "before": 1})[0] == 400
        first.json("POST", "undo")
        first.json("POST", "undo")
        assert first.request("PUT", "view", {"text": "half a", "active": None})[0] == 204
        before = first.json("GET", "state")
    with served(str(folder)) as second:
        assert second.address != first.address
        assert second.json("GET", "state") == before
        for wanted in (["a-dog", "a-cat"], ["a-cat", "a-dog"]):
            assert [each["query_id"] for each in second.json("POST", "redo")["queries"]] == wanted
        old = urlsplit(first.address).path
        assert second.request("GET", f"{old}state")[0] == 404, "each start has a token of its own"


def test_a_configuration_brings_its_table_which_is_not_written_over_unasked(folder: Path, here: Path) -> None:
    (here / "mine.csv").write_text("query_id,text,threshold\ndog,a dog,0.35\ncat,a cat,\n")
    (here / "run.yaml").write_text(
        f"input: {{url: {folder}}}\noutput: {{url: out}}\nqueries: {{table: mine.csv}}\nmasks: {{threshold: 0.45}}\n"
    )
    with served("run.yaml", images=2) as bench:
        state = bench.json("GET", "state")
        assert [(each["query_id"], each["threshold"]) for each in state["queries"]] == [("dog", 0.35), ("cat", 0.45)]
        assert (state["over"], state["tableChanged"], state["undo"]) == ("mine.csv", False, True)
        bench.json("POST", "queries", {"text": "a bird"})
        status, data, _ = bench.request("POST", "save", {"name": "mine.csv"})
        assert (status, "is left as it is" in json.loads(data)["error"]) == (400, True)
        assert "bird" not in (here / "mine.csv").read_text()
        saved = bench.json("POST", "save", {"over": True})
        assert saved["next"] == [f"clipseg-ray run run.yaml -s {MODEL} -s queries.table=mine.csv"]
        assert "bird" in (here / "mine.csv").read_text()
    (here / "mine.csv").write_text("text\na house\n")
    with served("run.yaml", images=2) as again:
        state = again.json("GET", "state")
        assert (len(state["queries"]), state["tableChanged"]) == (3, True)
        assert [each["query_id"] for each in again.json("POST", "reopen")["queries"]] == ["a-house"]
        assert len(again.json("POST", "undo")["queries"]) == 3


HOSTILE = "</script><img src=x onerror=hacked=1>\u2028\"'\ud800"


def test_hostile_requests_are_refused_in_a_line_and_leave_nothing(bench: Served, here: Path) -> None:
    for method, path, body, status in [
        ("POST", "ask", b"{", 400),
        ("POST", "ask", b"[" * 5000, 400),
        ("POST", "ask", b"\xff\xfe\x00", 400),
        ("POST", "ask", [], 400),
        ("POST", "ask", {}, 400),
        ("POST", "ask", {"uid": "../../x"}, 400),
        ("POST", "ask", {"query": {"image": "/etc/passwd"}}, 400),
        ("POST", "ask", {"query": {"text": ["a"] * 3000}}, 400),
        ("POST", "queries", {"text": "x", "mask": "/etc/passwd"}, 400),
        ("POST", "queries", {"text": "x", "mode": "eval()"}, 400),
        ("PATCH", "queries", {"x": 1}, 400),
        ("DELETE", "queries/..%2f..%2fx", None, 404),
        ("DELETE", "queries/x", None, 400),
        ("POST", "pictures", b"<svg onload=alert(1)>", 400),
        ("POST", "pictures/of/999", None, 400),
        ("GET", "pictures/..%2f..%2flist.json", None, 404),
        ("GET", "pictures/" + "0" * 64, None, 400),
        ("GET", "thumbnails/99", None, 400),
        ("GET", "page/..%2fapp.py", None, 404),
        ("GET", "page/app.py", None, 404),
        ("GET", "nothing", None, 404),
        ("PUT", "state", None, 405),
        ("POST", "save", {"name": "../../x.yaml"}, 400),
        ("POST", "save", {"over": True}, 400),
        ("PUT", "view", {"text": "x" * 600_000}, 400),
    ]:
        found, data, headers = bench.request(method, path, body)
        assert found == status, (method, path, found, data)
        assert b"Traceback" not in data
        assert headers["content-security-policy"]
    assert bench.json("GET", "state")["queries"] == []
    assert not list(here.iterdir())
    added = bench.json("POST", "queries", {"text": HOSTILE, "query_id": HOSTILE, "kind": HOSTILE})
    assert added["queries"][0]["query_id"].startswith("</script><img")
    status, page, _ = bench.request("GET", "")
    assert (status, b"hacked" in page) == (200, False)


@pytest.mark.parametrize(("images", "port", "says"), [(0, None, "--images 0"), (2, 80_000, "--port 80000")])
def test_what_cannot_be_opened_is_said_in_a_line(
    folder: Path, here: Path, images: int, port: int | None, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        serving.serve(str(folder), [MODEL], images=images, port=port, say=lambda _: None)
    with pytest.raises(UserError, match="nowhere"):
        serving.serve("nowhere", [MODEL], images=2, port=None, say=lambda _: None)
