"""Names, ids and captions of any kind in whole runs: each image ends as a row, and a second run has nothing to do."""

import json
import os
from pathlib import Path

import pytest

from clipseg_ray.storage import Store
from clipseg_ray.upkeep import verification
from tests.pipeline import world
from tests.tars import tar_of


@pytest.mark.usefixtures("ray_cluster")
def test_names_ids_and_captions_from_outside(tmp_path: Path, checkpoint_dir: Path) -> None:
    sidecars = {
        "caf\udce9": b'{"id": "one \\ud83d", "caption": "a cup \\udc00"}',
        "deep": b'{"id": "two", "caption": ' + b"[" * 900 + b"]" * 900 + b"}",
        "deeper": b"[" * 200_000,
        "number": b'{"id": "four", "caption": 7}',
        "good": b'{"id": "five", "caption": ["the red circle", "a\\u0000b"]}',
    }
    members = []
    for number, (key, sidecar) in enumerate(sidecars.items()):
        members += [(f"{key}.jpg", world.jpeg(number)), (f"{key}.json", sidecar)]
    Store.of(str(tmp_path / "in")).put("s.tar", tar_of(members))
    output = str(tmp_path / "out")
    settings = world.settings(
        str(tmp_path / "in"),
        output,
        checkpoint_dir,
        world.write_table(tmp_path / "queries.jsonl"),
        input={"id_field": "id"},
        queries={"from": "caption"},
    )
    outcome = world.run(settings)
    assert outcome.code == 0, outcome.message
    images = {row["image_id"]: row for row in world.images(output).to_pylist()}
    assert set(images) == {"one \\ud83d", "two", "s.tar/deeper", "four", "five"}
    assert {image_id for image_id, row in images.items() if row["status"] != "ok"} == {"s.tar/deeper"}
    assert images["s.tar/deeper"]["status"] == "undecodable"  # its id is in what cannot be read
    assert "deeper.json" in images["s.tar/deeper"]["error"]
    assert all(images[image_id]["error"] for image_id in ("two", "four"))
    assert not any(images[image_id]["error"] for image_id in ("one \\ud83d", "five"))
    assert "caption" in images["four"]["error"]
    asked = {(row["image_id"], row["query_text"]) for row in world.masks(output).to_pylist() if row["query_text"]}
    assert asked == {("one \\ud83d", "a cup \\udc00"), ("five", "the red circle"), ("five", "a\\x00b")}
    assert verification.verify(output).faults == []
    assert "Nothing to do" in world.run(settings).message


@pytest.mark.usefixtures("ray_cluster")
def test_files_from_outside(tmp_path: Path, checkpoint_dir: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number, name in enumerate((b"caf\xe9.jpg", b"a\nb.jpg", b"\\xe9.jpg")):
        (folder / os.fsdecode(name)).write_bytes(world.jpeg(number))
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    names = ["caf\udce9.jpg", "a\nb.jpg", "\\xe9.jpg", "loop.jpg", "n" * 300 + ".jpg", "x\0.jpg", "\ud83d.jpg"]
    names += ["http://h:99999/x.jpg", "http://[::1/x.jpg", "~nosuchuser/x.jpg"]
    (folder / "m.jsonl").write_text("".join(json.dumps({"image": name}) + "\n" for name in names))
    output = str(tmp_path / "out")
    settings = world.settings(
        str(folder / "m.jsonl"), output, checkpoint_dir, world.write_table(tmp_path / "queries.jsonl")
    )
    outcome = world.run(settings)
    assert outcome.code == 0, outcome.message
    rows = world.images(output).to_pylist()
    assert len(rows) == len(names)
    there = {row["image_id"] for row in rows if row["status"] == "ok"}
    assert there == {"caf\\xe9.jpg", "a\nb.jpg", "\\x5cxe9.jpg"}
    assert all(row["status"] == "missing" and row["error"] for row in rows if row["image_id"] not in there)
    assert "Nothing to do" in world.run(settings).message
