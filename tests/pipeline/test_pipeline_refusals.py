"""What a run must not do quietly: repeat ids, do a moved input again, read its own output, hide an actor's refusal."""

import dataclasses
import json
from pathlib import Path

import pytest

from clipseg_ray import config, storage
from clipseg_ray.errors import UserError
from clipseg_ray.pipeline import describe, driver, execute, plan
from clipseg_ray.pipeline import outcome as outcomes
from clipseg_ray.pipeline.breaker import Breaker, RunStopped
from clipseg_ray.pipeline.settle import settle
from clipseg_ray.results import shard_records
from clipseg_ray.results.completeness import check_ids
from clipseg_ray.sources.chunks import ShardRecord
from clipseg_ray.storage import Store
from tests.made import make
from tests.pipeline import world
from tests.report import world as report_world
from tests.tars import tar_of


@pytest.fixture
def table(tmp_path: Path) -> str:
    return world.write_table(tmp_path / "queries.jsonl")


@pytest.mark.usefixtures("ray_cluster")
def test_repeated_ids_are_reported_each_time(tmp_path: Path, checkpoint_dir: Path, table: str) -> None:
    files: dict[str, bytes] = {}
    for i, name in enumerate(("one", "two", "one")):
        files |= {f"{i}.jpg": world.jpeg(i), f"{i}.json": json.dumps({"name": name}).encode()}
    Store.of(str(tmp_path / "in")).put("a.tar", tar_of(files))
    values = world.settings(
        str(tmp_path / "in"), str(tmp_path / "out"), checkpoint_dir, table, input={"id_field": "name"}
    )
    for _ in range(2):
        outcome = world.run(values)
        assert outcome.code == outcomes.INCOMPLETE
        assert "occur more than once: one;" in outcome.message


def test_ids_that_repeat_in_a_shard_are_reported_from_the_names_of_records(tmp_path: Path) -> None:
    output = Store.of(report_world.write(tmp_path, [report_world.query("dog")], report_world.scattered(1, 2, ["dog"])))
    assert check_ids(output) is None
    shard_records.put(
        output,
        ShardRecord(shard_id="0123456789abcdef", path="a.tar", samples=3, chunks=(), repeated=("a.tar/x", "a.tar/b")),
    )
    said = check_ids(output)
    assert said is not None
    assert "occur more than once: a.tar/b, a.tar/x;" in said


@pytest.mark.usefixtures("ray_cluster")
def test_an_actor_that_refuses_is_heard(
    tmp_path: Path, checkpoint_dir: Path, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write_tars(str(tmp_path / "in"), shards=1, images=2)

    def other_weights(*arguments: object, **named: object) -> object:
        settled = settle(*arguments, **named)  # type: ignore[arg-type]
        return dataclasses.replace(settled, spec=dataclasses.replace(settled.spec, weights_sha256="0" * 64))

    monkeypatch.setattr(execute, "settle", other_weights)
    outcome = world.run(world.settings(str(tmp_path / "in"), str(tmp_path / "out"), checkpoint_dir, table))
    assert outcome.code == outcomes.INCOMPLETE
    assert "are not those of the dataset (sha256" in outcome.message
    assert "Traceback" not in outcome.message


def test_a_field_that_holds_no_phrase_is_said_of_its_image_only(tmp_path: Path, checkpoint_dir: Path) -> None:
    files: dict[str, bytes] = {}
    for i, phrase in enumerate(["a cup", "a dog", 7, "a cat", "a hat", "a car"]):
        files |= {f"{i}.jpg": world.jpeg(i), f"{i}.json": json.dumps({"said": phrase}).encode()}
    Store.of(str(tmp_path / "in")).put("a.tar", tar_of(files))
    values = world.settings(str(tmp_path / "in"), str(tmp_path / "out"), checkpoint_dir, "unused")
    values["queries"] = {"from": "said"}
    make(values)
    rows = {row["image_id"]: row for row in world.images(str(tmp_path / "out")).to_pylist()}
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert [image_id for image_id, row in rows.items() if row["error"]] == ["a.tar/2"]
    assert "queries.from: field 'said' of a.tar/2 holds 7" in rows["a.tar/2"]["error"]
    assert world.masks(str(tmp_path / "out")).num_rows == 5


def test_an_output_inside_the_input_is_not_read(tmp_path: Path, checkpoint_dir: Path, table: str) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.jpg").write_bytes(world.jpeg(1))
    (source / "out" / "images").mkdir(parents=True)
    (source / "out" / "images" / "thumb.jpg").write_bytes(world.jpeg(2))
    found = plan.look(config.parse(world.settings(str(source), str(source / "out"), checkpoint_dir, table)))
    assert [member.path for shard in found.shards for member in shard.members or ()] == ["a.jpg"]


def test_input_and_output_in_one_another(tmp_path: Path, checkpoint_dir: Path, table: str) -> None:
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "a.jpg").write_bytes(world.jpeg(1))
    for url, output in ((source, source), (source / "sub", source), (f"{source}/sub/*.jpg", source / "sub")):
        with pytest.raises(UserError, match=r"^output\.url: "):
            plan.look(config.parse(world.settings(str(url), str(output), checkpoint_dir, table)))
    with pytest.raises(UserError, match=r"output\.url: .*it is empty"):
        config.parse(world.settings(str(source), "", checkpoint_dir, table))
    with pytest.raises(UserError, match=r"input\.url: .*it is empty"):
        config.parse(world.settings(" ", str(tmp_path / "out"), checkpoint_dir, table))


def test_an_input_without_images_is_an_error(tmp_path: Path, checkpoint_dir: Path, table: str) -> None:
    (tmp_path / "m.csv").write_text("url\n")
    with pytest.raises(UserError, match=r"m\.csv: no row, so no image is named; check input\.url"):
        plan.look(config.parse(world.settings(str(tmp_path / "m.csv"), str(tmp_path / "out"), checkpoint_dir, table)))


def test_a_plan_says_what_is_passed_over(tmp_path: Path, checkpoint_dir: Path, table: str) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a.jpg", "b.dng", "c.DNG"):
        (source / name).write_bytes(world.jpeg(1))
    (source / "gone.jpg").symlink_to("nowhere")
    found = plan.look(config.parse(world.settings(str(source), str(tmp_path / "out"), checkpoint_dir, table)))
    assert "\n          passed over: 2 × .dng, 1 broken link\n" in describe.plan_text(found)
    assert describe.plan_json(found)["passed_over"] == {".dng": 2, "broken links": 1}


@pytest.mark.usefixtures("ray_cluster")
def test_a_run_that_did_not_go_well_does_not_end_as_plain_success(
    tmp_path: Path, checkpoint_dir: Path, table: str
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    good = {"0.jpg": world.jpeg(1), "0.png": b"map", "0.json": b'{"caption": "a cup"}', "1.jpg": b"", "2.jpg": b"x"}
    (source / "good.tar.xz").write_bytes(tar_of(good, "w:xz"))
    (source / "html.tar").write_bytes(b"<!DOCTYPE html><html>404</html>" * 40)
    asked = {"table": None, "from": "captoin"}
    values = world.settings(str(source), str(tmp_path / "out"), checkpoint_dir, table, queries=asked)
    for _ in range(2):
        outcome = world.run(values)
        assert outcome.code == outcomes.INCOMPLETE
        assert "1 of 2 shard(s) could not be read at all:\n  html.tar: the archive breaks off at" in outcome.message
        assert "it is HTML" in outcome.message
    (source / "html.tar").unlink()
    outcome = world.run(values)
    assert outcome.code == outcomes.COMPLETE
    assert "\npassed over: 1 further image in a tar (input.image_field: '*' takes them all)" in outcome.message
    assert "\nWARNING: most images have no masks: 3 of 4 (" in outcome.message
    outcome = world.run({**values, "output": {"url": str(tmp_path / "other")}})
    assert outcome.code == outcomes.COMPLETE
    assert "\nWARNING: most images have no masks: 2 of 3 (1 undecodable, 1 empty)" in outcome.message
    assert "no image has a phrase in its field 'captoin'" in outcome.message
    assert "the first image has caption; did you mean caption?" in outcome.message
    assert "| passed over | 1 further image in a tar" in (tmp_path / "other" / "README.md").read_text()


def test_a_moved_input_is_not_done_again(tmp_path: Path, checkpoint_dir: Path, table: str) -> None:
    world.write_tars(str(tmp_path / "here"), shards=2, images=2)
    output = str(tmp_path / "out")
    settle(plan.look(config.parse(world.settings(str(tmp_path / "here"), output, checkpoint_dir, table))), "cpu", 1)
    (tmp_path / "here").rename(tmp_path / "there")
    with pytest.raises(UserError, match="the input seems to have moved"):
        plan.look(config.parse(world.settings(str(tmp_path / "there"), output, checkpoint_dir, table)))


def test_the_breaker() -> None:
    breaker = Breaker()
    for _ in range(30):
        breaker.shard_unread("gone")
    for _ in range(9):
        breaker.chunk_failed("bad")
    breaker.succeeded()
    breaker.chunk_failed("bad")
    breaker.check()
    for _ in range(40):
        breaker.succeeded()
    breaker.chunk_failed("worse")
    with pytest.raises(RunStopped, match=r"Stopped after 11 failed chunk\(s\) of 52; the last cause: worse"):
        breaker.check()


def test_hosts_that_are_gone_are_one_event_for_the_breaker() -> None:
    breaker = Breaker()
    for _ in range(200):
        breaker.chunk_failed("3 of 256 images cannot be had", hosts_gone=True)
    breaker.check()
    assert (breaker.tried, breaker.failed, len(breaker.causes)) == (200, 1, 200)
    for _ in range(10):  # nothing of these chunks could be had: the network itself
        breaker.chunk_failed("256 of 256 images cannot be had")
    with pytest.raises(RunStopped):
        breaker.check()


def test_an_output_that_cannot_be_written_is_told_by_the_plan_and_refused_before_ray(
    tmp_path: Path, checkpoint_dir: Path, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write_tars(str(tmp_path / "in"), shards=1, images=2)
    values = world.settings(str(tmp_path / "in"), str(tmp_path / "out"), checkpoint_dir, table)
    make(values)
    monkeypatch.setattr(storage.os, "access", lambda path, mode: str(path) != str(tmp_path / "out"))
    assert plan.look(config.parse(values)).refusal is None, "nothing is left to write"
    world.write_tars(str(tmp_path / "in"), shards=1, images=2, first=1)
    said = f"warning   output.url: {tmp_path}/out: {tmp_path}/out cannot be written to; check its permissions"
    assert said in describe.plan_text(plan.look(config.parse(values)))
    monkeypatch.setattr(driver, "guard_a_local_cluster", lambda: pytest.fail("Ray was started"))
    with pytest.raises(UserError, match=r"output\.url: .*cannot be written to"):
        world.run(values)
