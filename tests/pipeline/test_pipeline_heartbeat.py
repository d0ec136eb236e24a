"""The status file through a run: there from the start, written again whatever fails, and last of all how it ended."""

import io
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clipseg_ray.pipeline import heartbeat, progress
from clipseg_ray.pipeline.heartbeat import Heartbeat
from clipseg_ray.pipeline.progress import Reporter
from clipseg_ray.pipeline.segmenter import ChunkResult
from clipseg_ray.pipeline.work import ShardWork
from clipseg_ray.results import runs
from clipseg_ray.sources.base import Member, Shard
from clipseg_ray.storage import Store
from tests.pipeline import world

SHARD = Shard.of_object(Member("s-000.tar", 1000, "etag"))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "_TICK_S", 0.01)
    monkeypatch.setattr(progress, "HEARTBEAT_S", 0.02)


def reporter() -> Reporter:
    work = replace(world.work(ShardWork(SHARD, {"images": 0}), chunks=3, unread=1), chunks_done=1)
    return Reporter("20260101T000000-abcdef", work, io.StringIO())


def reported(store: Store, **wanted: Any) -> dict[str, Any]:
    """The status once it has these values."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found, _ = runs.newest(store)
        if found and wanted.items() <= found[0][1].items():
            return found[0][1]
        time.sleep(0.02)
    raise AssertionError(f"the status never had {wanted}")


def test_it_is_reported_from_the_start_to_the_end(tmp_path: Path) -> None:
    store, saying = Store.of(str(tmp_path)), reporter()
    with Heartbeat(store, saying, {"driver": "here:1"}) as beating:
        first = reported(store, state="running", driver="here:1", doing="starting")
        assert (first["chunks_done"], first["chunks_total"], first["chunks_total_is_estimate"]) == (1, 4, True)
        saying.add(
            ChunkResult(shard=SHARD.shard_id, chunk=1, images=2, statuses={"ok": 2}, masks=6, nonempty=1, bytes=10)
        )
        saying.add(ChunkResult(shard=SHARD.shard_id, chunk=2, failure="s-000.tar: cannot be reached"))
        saying.actors, saying.queue = 3, 2
        now = reported(store, chunks_done=2, failed_chunks=1, actors=3, queue=2)
        assert now["failures"][0]["cause"] == "s-000.tar: cannot be reached"
        assert now["failures"][0]["examples"] == [f"s-000.tar chunk 2 ({SHARD.shard_id}-000002.parquet)"]
        left = replace(world.work(ShardWork(SHARD, {"images": 0b11}), chunks=3, unread=1), chunks_done=2)
        saying.surveyed(left, list(left.missing()), "trying again")
        again = reported(store, doing="trying again", missing_chunks=1)
        assert [(item["path"], item["chunk"]) for item in again["missing"]] == [("s-000.tar", None)]
        beating.end("incomplete", "1 chunk is missing")
    last = reported(store, state="incomplete", message="1 chunk is missing")
    assert (last["actors"], last["queue"], last["doing"]) == (0, 0, "")


def test_storage_that_fails_for_a_while_stops_no_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, saying = Store.of(str(tmp_path)), reporter()
    with monkeypatch.context() as patched:
        patched.setattr(Store, "put", lambda *_: (_ for _ in ()).throw(OSError("no route")))
        beating = Heartbeat(store, saying, {}).__enter__()
        time.sleep(0.1)
        assert runs.newest(store) == ([], 0)
    reported(store, state="running")
    beating.end("complete", "")
    reported(store, state="complete")


def test_a_chunk_with_other_rows_is_remembered_until_it_is_done() -> None:
    saying = reporter()
    saying.add(ChunkResult(shard=SHARD.shard_id, chunk=1, failure="another run has put this part", conflict=True))
    saying.add(ChunkResult(shard=SHARD.shard_id, chunk=2, failure="cannot be reached"))
    name = f"s-000.tar chunk 1 ({SHARD.shard_id}-000001.parquet)"
    assert list(saying.totals.conflicts.values()) == [f"{name}: another run has put this part"]
    saying.add(ChunkResult(shard=SHARD.shard_id, chunk=1))
    assert not saying.totals.conflicts
