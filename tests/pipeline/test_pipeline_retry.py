"""``run --retry-failed``: what could not be found is looked for again, all else stays, whatever cuts it off."""

import contextlib
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from clipseg_ray import config
from clipseg_ray.cli import app
from clipseg_ray.errors import UserError
from clipseg_ray.pipeline import describe, plan
from clipseg_ray.pipeline.row import ChunkRow
from clipseg_ray.pipeline.segmenter import ChunkResult, Segmenter
from clipseg_ray.pipeline.settle import settle
from clipseg_ray.results import agreement, layout, record, retrying, runs, sets, status
from clipseg_ray.storage import Store
from clipseg_ray.upkeep import verification
from tests.pipeline import world
from tests.servers.s3 import free_port
from tests.tars import tar_of

GONE = 1
"""Index of the image that is not there at first: in the first chunk of two images."""


class Job:
    """A manifest of four images, one of them absent, and two tables, of which the larger adds a prompt set."""

    def __init__(self, root: Path, checkpoint: Path) -> None:
        self.root = root
        (root / "in").mkdir()
        names = [f"p{i}.jpg" for i in range(4)]
        (root / "in" / "list.csv").write_text("\n".join(["url", *names]) + "\n")
        for i in range(4):
            self.put_image(i)
        self.output = str(root / "out")
        self.small, self.large = (
            world.settings(
                str(root / "in" / "list.csv"),
                self.output,
                checkpoint,
                world.write_table(root / f"{name}.jsonl", queries),
                input={"format": "manifest"},
            )
            for name, queries in (("small", world.QUERIES[:2]), ("large", world.QUERIES))
        )

    def put_image(self, i: int) -> None:
        (self.root / "in" / f"p{i}.jpg").write_bytes(world.jpeg(i))

    def remove_image(self, i: int) -> None:
        (self.root / "in" / f"p{i}.jpg").unlink()

    def fill(self, values: Mapping[str, Any], *, retry_failed: bool = False, give_up: bool = False) -> int:
        """What a run does, in this process and without Ray; the chunks computed."""
        planned = plan.look(config.parse(values), retry_failed=retry_failed, give_up=give_up)
        settled = settle(planned, "cpu", 1)
        retrying.clear(planned.store, planned.redo, planned.all_sets)
        segmenter = Segmenter(settled.spec)
        chunks = 0
        for work in settled.survey().todo:
            for row in settled.reader.rows(work):
                assert row.failure is None, row.failure
                segmenter.process(row, ChunkResult(shard=row.shard, chunk=row.chunk))
                chunks += 1
        assert settled.survey().complete
        return chunks

    def statuses(self) -> list[str]:
        return world.images(self.output).column("status").to_pylist()

    def parts(self) -> dict[str, str]:
        return world.digests(self.output, "images") | world.digests(self.output, "masks")


@pytest.fixture
def job(tmp_path: Path, checkpoint_dir: Path) -> Job:
    return Job(tmp_path, checkpoint_dir)


@pytest.fixture
def with_one_gone(job: Job) -> Job:
    """Both prompt sets are there for three images; the fourth has come back since."""
    job.remove_image(GONE)
    job.fill(job.small)
    job.fill(job.large)
    assert job.statuses() == ["ok", "missing", "ok", "ok"]
    job.put_image(GONE)
    return job


def test_it_says_what_it_takes_up_again(with_one_gone: Job) -> None:
    found = plan.look(config.parse(with_one_gone.small), retry_failed=True)
    text = describe.retry_text(found)
    assert "1 chunk(s) with 1 image(s) that were not found" in text
    assert "in 2 prompt set(s)" in text
    assert "p0.jpg: chunk 0" in text
    assert plan.look(config.parse(with_one_gone.small)).work.complete, "without the option there is nothing to do"
    with_one_gone.fill(with_one_gone.small, retry_failed=True)
    again = plan.look(config.parse(with_one_gone.small), retry_failed=True)
    assert describe.retry_text(again).startswith("retry     nothing")
    assert again.work.complete


@pytest.mark.parametrize("deleted", range(4))
def test_whatever_cuts_it_off_masks_and_images_agree(
    with_one_gone: Job, monkeypatch: pytest.MonkeyPatch, deleted: int
) -> None:
    job = with_one_gone
    before = job.parts()
    left = iter(range(deleted))
    delete = Store.delete

    def cut_off(self: Store, path: str) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        delete(self, path)

    with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
        patched.setattr(Store, "delete", cut_off)
        job.fill(job.small, retry_failed=True)
    gone = before.keys() - job.parts().keys()
    assert len(gone) == min(deleted, 3) or deleted == 3
    assert job.fill(job.large) == (1 if gone else 0)
    report = verification.verify(job.output)
    assert report.sound, report.text()
    if 0 < len(gone) < 3:
        assert job.parts() == before, "with its images part still there a chunk comes back as it was"

    job.fill(job.small, retry_failed=True)
    assert job.statuses() == ["ok"] * 4
    report = verification.verify(job.output)
    assert report.sound, report.text()
    assert report.masks == 12
    unchanged = {path for path in before if path.endswith("-000001.parquet")}
    assert len(unchanged) == 3
    assert {path: job.parts()[path] for path in unchanged} == {path: before[path] for path in unchanged}


def test_the_result_is_that_of_a_run_that_found_everything(with_one_gone: Job) -> None:
    job = with_one_gone
    job.fill(job.small, retry_failed=True)
    repaired = job.parts()
    shutil.rmtree(job.output)
    job.fill(job.small)
    job.fill(job.large)
    assert job.parts() == repaired


def test_what_is_still_gone_stays_a_row(job: Job) -> None:
    job.remove_image(GONE)
    job.fill(job.small)
    before = job.parts()
    assert job.fill(job.small, retry_failed=True) == 1
    assert job.parts() == before


def test_an_image_that_came_back_is_no_part_of_later_queries_until_it_is_retried(job: Job) -> None:
    job.remove_image(GONE)
    job.fill(job.small)
    job.put_image(GONE)
    job.fill(job.large)
    report = verification.verify(job.output)
    assert report.sound, report.text()
    assert report.masks == 9


def test_it_waits_for_a_run_that_is_writing(with_one_gone: Job) -> None:
    job = with_one_gone
    running = {"state": "running", "time": time.time(), "heartbeat_s": 0.5, "driver": "there:1"}
    runs.write_status(Store.of(job.output), "20990101T000000-abcdef", running)
    before = job.parts()
    with pytest.raises(UserError, match=r"20990101T000000-abcdef is writing to it \(there:1\)"):
        job.fill(job.small, retry_failed=True)
    assert job.parts() == before
    runs.write_status(Store.of(job.output), "20990101T000000-abcdef", {**running, "time": time.time() - 60})
    job.fill(job.small, retry_failed=True)


def frozen(job: Job, values: Mapping[str, Any]) -> tuple[Segmenter, list[ChunkRow]]:
    """A driver and its actor that have read what is to do, and stand still before they put it."""
    settled = settle(plan.look(config.parse(values)), "cpu", 1)
    rows = [row for work in settled.survey().todo for row in settled.reader.rows(work)]
    return Segmenter(settled.spec), rows


def go_on(segmenter: Segmenter, rows: Sequence[ChunkRow]) -> list[ChunkResult]:
    """It wakes up: what it made of each chunk."""
    tables = [segmenter(row.to_arrow()) for row in rows]
    return [ChunkResult.from_json(table.column("result")[0].as_py()) for table in tables]


def test_a_driver_that_was_frozen_beside_a_retry_overwrites_nothing(job: Job) -> None:
    """It had computed a chunk without an image; before it puts its masks, the retry has put those of all images."""
    job.remove_image(GONE)
    segmenter, rows = frozen(job, job.small)
    assert go_on(segmenter, rows[1:])[0].failure is None
    only_images = replace(rows[0], folders=(layout.IMAGES,))
    assert go_on(segmenter, [only_images])[0].failure is None
    job.put_image(GONE)
    job.fill(job.small, retry_failed=True)
    before = job.parts()
    woken = go_on(segmenter, rows)
    assert job.parts() == before
    assert [(result.conflict, result.failure is None) for result in woken] == [(True, False), (False, True)]
    assert "another run has put this part, and it is of other images or statuses" in str(woken[0].failure)
    assert woken[1].masks == 4, "what is there with the same rows is counted"
    assert verification.verify(job.output).sound


def test_a_frozen_driver_that_wakes_up_first_leaves_masks_that_are_known(job: Job) -> None:
    """The other order: the retry has removed the chunk's parts and put its images when the old masks come."""
    job.remove_image(GONE)
    segmenter, rows = frozen(job, job.small)
    go_on(segmenter, [replace(rows[0], folders=(layout.IMAGES,)), rows[1]])
    job.put_image(GONE)
    planned = plan.look(config.parse(job.small), retry_failed=True)
    settled = settle(planned, "cpu", 1)
    retrying.clear(planned.store, planned.redo, planned.all_sets)
    (new,) = [row for work in settled.survey().todo for row in settled.reader.rows(work)]
    second = Segmenter(settled.spec)
    assert go_on(second, [replace(new, folders=(layout.IMAGES,))])[0].failure is None
    (old,) = go_on(segmenter, [replace(rows[0], folders=rows[0].folders[1:])])
    assert old.failure is None
    (late,) = go_on(second, [new])
    assert late.conflict
    (masks,) = agreement.disagreeing(job.output)
    assert masks.endswith("-000000.parquet")
    assert [fault.partition(": ")[0] for fault in verification.verify(job.output).faults][:1] == [masks]
    part = masks.rpartition("/")[2]
    assert f"remove {part} from every folder of masks/, then from images/; run again" in str(late.failure)
    for path in (masks, f"{layout.IMAGES}/{part}"):  # as it says
        Store.of(job.output).delete(path)
    job.fill(job.small)
    assert job.statuses() == ["ok"] * 4
    assert verification.verify(job.output).sound


def test_without_exclusive_create_nothing_is_retried(with_one_gone: Job) -> None:
    job = with_one_gone
    store = Store.of(job.output)
    kept = store.get(layout.DATASET)
    made = record.require(store)
    store.put(layout.DATASET, replace(made, exclusive_create=False).to_json())
    with pytest.raises(UserError, match="this storage overwrites what it is asked to create"):
        plan.look(config.parse(job.small), retry_failed=True)
    assert plan.look(config.parse(job.small)).work.complete
    store.put(layout.DATASET, kept)
    assert plan.look(config.parse(job.small), retry_failed=True).redo


def test_an_image_that_is_gone_since_leaves_no_hole(job: Job) -> None:
    job.fill(job.small)
    job.remove_image(GONE)
    settled = settle(plan.look(config.parse(job.large)), "cpu", 1)
    rows = [row for work in settled.survey().todo for row in settled.reader.rows(work)]
    assert [row.failure is None for row in rows] == [False, True]
    failure = rows[0].failure
    assert failure is not None
    assert f"p{GONE}.jpg: it was there when the first masks of its chunk were computed, now: " in failure
    part = layout.part_name(rows[0].shard, 0)
    assert f"remove {part} from every folder of {job.output}/masks and then from {job.output}/images" in failure
    for folder in [*(Path(job.output) / "masks").iterdir(), Path(job.output) / "images"]:  # as it says
        (folder / part).unlink(missing_ok=True)
    job.fill(job.large)
    assert job.statuses() == ["ok", "missing", "ok", "ok"]
    report = verification.verify(job.output)
    assert report.sound, report.text()
    job.put_image(GONE)
    job.fill(job.large, retry_failed=True)
    assert job.statuses() == ["ok"] * 4


@pytest.mark.usefixtures("ray_cluster")
def test_no_run_begins_beside_one_that_takes_up_what_failed(with_one_gone: Job) -> None:
    job = with_one_gone
    Store.of(job.output).delete(_last_masks_part(job))
    path = job.root / "run.yaml"
    path.write_text(yaml.safe_dump(job.large))
    other = "20990101T000000-abcdef"
    running = {"state": "running", "time": time.time(), "heartbeat_s": 600.0, "driver": "there:1", "retry_failed": True}
    runs.write_status(Store.of(job.output), other, running)
    before = job.parts()
    result = CliRunner().invoke(app, ["run", str(path)])
    assert isinstance(result.exception, UserError), result.output
    assert f"run {other} is writing to it (there:1); it is taking up what failed" in str(result.exception)
    assert job.parts() == before
    runs.write_status(Store.of(job.output), other, {**running, "retry_failed": False})
    assert CliRunner().invoke(app, ["run", str(path)]).exit_code == 0


def test_phrases_must_be_asked_for_with_the_rest(job: Job) -> None:
    (job.root / "in" / "list.csv").write_text("url,say\np0.jpg,a dog\np1.jpg,a cat\np2.jpg,a dog\np3.jpg,a tree\n")
    job.remove_image(GONE)
    job.fill({**job.small, "queries": {**job.small["queries"], "from": "say"}})
    before = job.parts()
    with pytest.raises(UserError, match=r"set queries\.from: say"):
        job.fill(job.small, retry_failed=True)
    assert job.parts() == before
    job.put_image(GONE)
    job.fill({**job.small, "queries": {**job.small["queries"], "from": "say"}}, retry_failed=True)
    assert job.statuses() == ["ok"] * 4
    assert verification.verify(job.output).sound


def test_tars_have_nothing_that_can_come_back(tmp_path: Path, checkpoint_dir: Path) -> None:
    source = str(tmp_path / "in")
    Store.of(source).put("a.tar", tar_of({"a.jpg": world.jpeg(1), "b.json": b"{}"}))
    table = world.write_table(tmp_path / "q.jsonl")
    job = Job.__new__(Job)
    job.output = str(tmp_path / "out")
    values = world.settings(source, job.output, checkpoint_dir, table)
    job.fill(values)
    assert job.statuses() == ["ok", "missing"]
    assert plan.look(config.parse(values), retry_failed=True).redo == ()


class Pictures(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = world.jpeg(9)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("format", ["manifest", "parquet"])
def test_unreachable_images_are_given_up_only_when_asked_and_taken_up_again(
    job: Job, checkpoint_dir: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    monkeypatch.setattr("clipseg_ray.sources.images.BACKOFF_S", 0.001)
    port = free_port()
    host = f"http://127.0.0.1:{port}"
    names = ["p0.jpg", f"{host}/a.jpg", "http://gone.invalid/b.jpg", "p1.jpg"]
    allow = [host, "http://gone.invalid"]
    if format == "parquet":
        (job.root / "in" / "list.csv").unlink()
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        rows = pa.array([{"bytes": None, "path": name} for name in names], kind)
        pq.write_table(pa.table({"image": rows}), job.root / "in" / "list.parquet")
        file = job.root / "in" / "list.parquet"
    else:
        file = job.root / "in" / "list.csv"
        file.write_text("\n".join(["url", *names]) + "\n")
    small, large = (
        {**values, "input": {**values["input"], "url": str(file), "format": format, "allow": allow}}
        for values in (job.small, job.large)
    )

    settled = settle(plan.look(config.parse(small)), "cpu", 1)
    rows_ = [row for work in settled.survey().todo for row in settled.reader.rows(work)]
    failed = [row for row in rows_ if row.failure]
    assert len(failed) == 1, "only the chunk of the dead host"
    table = failed[0].to_arrow()
    assert ChunkRow.from_arrow(table, settled.reader.preprocessing.size).hosts_gone
    result = Segmenter(settled.spec)(table).column("result")[0].as_py()
    assert ChunkResult.from_json(result).hosts_gone
    assert f"{host}/a.jpg" in str(failed[0].failure)
    assert "--give-up" in str(failed[0].failure)

    def statuses(of_the_host: str) -> bool:
        rows = world.images(job.output).to_pylist()
        found = {row["image_id"] if format == "manifest" else names[int(row["key"])]: row["status"] for row in rows}
        return found == dict(zip(names, ["ok", of_the_host, "missing", "ok"], strict=True))

    job.fill(small, give_up=True)
    assert statuses("unreachable")
    assert plan.look(config.parse(small)).work.complete
    httpd = ThreadingHTTPServer(("127.0.0.1", port), Pictures)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    try:
        job.fill(large)
        assert statuses("unreachable"), "one image, one answer to all queries"
        assert verification.verify(job.output).sound
        text = describe.retry_text(plan.look(config.parse(small), retry_failed=True))
        assert "2 image(s) that were not found or reached" in text
        job.fill(small, retry_failed=True)
        assert statuses("ok")
        report = verification.verify(job.output)
        assert report.sound, report.text()
    finally:
        httpd.shutdown()
        httpd.server_close()


@pytest.mark.usefixtures("ray_cluster")
def test_the_command_on_ray(with_one_gone: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job = with_one_gone
    reported = []

    def clear(*arguments: Any, clear: Any = retrying.clear) -> None:
        reported.extend(run.state for run in status.read(job.output).runs)
        clear(*arguments)

    monkeypatch.setattr(retrying, "clear", clear)
    Store.of(job.output).delete(_last_masks_part(job))
    path = job.root / "run.yaml"
    path.write_text(yaml.safe_dump(job.small))
    result = CliRunner().invoke(app, ["run", str(path), "--retry-failed"])
    assert result.exit_code == 0, result.output
    assert "1 chunk(s) or shard(s) without their parts" in result.output
    assert "1 chunk(s) with 1 image(s) that were not found" in result.output
    assert "Of 1 image(s) that were not found before, 1 are there now." in result.output
    assert reported == ["running"], "others know of it before it removes anything"
    assert job.statuses() == ["ok"] * 4
    assert verification.verify(job.output).sound


def _last_masks_part(job: Job) -> str:
    """The masks of the second chunk in the set that the small table does not ask for."""
    other = sets.read(Store.of(job.output))[1].name
    name = max(entry.path for entry in Store.of(job.output).list(layout.masks_folder(other)))
    assert name.endswith("-000001.parquet")
    return name
