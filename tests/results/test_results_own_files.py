"""Files that are not ours, and ours that are broken, in every folder a run reads besides the parts."""

import json
import re
from pathlib import Path

import pytest

import clipseg_ray
from clipseg_ray.errors import UserError
from clipseg_ray.report import card
from clipseg_ray.results import backlog, inputs, layout, own_files, record, runs, sets, shard_records, status
from clipseg_ray.storage import Store
from clipseg_ray.upkeep.compaction import Compactor, prepare
from clipseg_ray.upkeep.verification import verify
from tests.report import world

FOLDERS = (
    layout.RUNS, layout.SETS, layout.INPUTS, layout.SHARDS, layout.QUERIES, layout.IMAGES, layout.MASKS, layout.COMPACT,
)  # fmt: skip
STRANGERS = (
    ".DS_Store",
    "._000000.json",
    "x.json.tmp",
    "000000.json.bak",
    "000007.json/inner",
    "notes.json",
    "a.parquet",
)


@pytest.fixture
def output(tmp_path: Path) -> str:
    """Two queries over one shard of three chunks, compacted beside it in ``dest``."""
    url = world.write(
        tmp_path, [world.query("dog"), world.query("cat")], world.scattered(1, 9, ["dog", "cat"]), chunk_images=3
    )
    runs.write_status(Store.of(url), "20260101T000000-abcdef", {"state": "complete", "time": 1.0, "heartbeat_s": 15.0})
    return url


def read_all(url: str) -> list[object]:
    """What a run, a reader, the card and a status begin with."""
    store = Store.of(url)
    with clipseg_ray.open(url) as masks:
        rows = masks.sql("SELECT count(*), sum(area) FROM masks").fetchall()
    assert card.write(store)
    found = [record.read(store), sets.read(store), inputs.read(store), shard_records.read_all(store)]
    return [*found, backlog.read(url), status.read(url).state, rows]


def test_strangers_in_any_folder_change_nothing(output: str, tmp_path: Path) -> None:
    dest = str(tmp_path / "dest")
    job = prepare(output, dest)
    assert [Compactor(job.spec)(group) for group in job.todo]
    expected = read_all(output)
    for url in (output, dest):
        for folder in FOLDERS:
            for name in STRANGERS:
                Store.of(url).put(f"{folder}/{name}", b"")
    assert read_all(output) == expected
    assert not prepare(output, dest).todo
    assert read_all(dest)[-1] == expected[-1]
    report = verify(output)
    assert not report.faults
    assert {orphan.path.rpartition("/")[2] for orphan in report.orphans} <= {*STRANGERS, "inner"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"PAR1"])
@pytest.mark.parametrize(
    ("path", "read"),
    [
        (layout.DATASET, lambda url: record.read(Store.of(url))),
        (layout.set_record(0), lambda url: sets.read(Store.of(url))),
        (layout.inputs_file(0), lambda url: inputs.read(Store.of(url))),
        (layout.SHARDS, lambda url: shard_records.read_all(Store.of(url))),
        (layout.QUERIES, card.write),
    ],
)
def test_a_broken_file_is_named(output: str, path: str, body: bytes, read) -> None:
    store = Store.of(output)
    if "." not in path:
        (path,) = own_files.names(store, path)
    store.put(path, body)
    with pytest.raises(UserError) as caught:
        read(store if path.startswith(layout.QUERIES) else output)
    assert store.url_of(path) in str(caught.value)
    assert ";" in str(caught.value), "what to do is said"


def test_a_numbered_file_that_is_gone_is_named(output: str) -> None:
    store = Store.of(output)
    store.put(layout.set_record(2), store.get(layout.set_record(0)))
    with pytest.raises(UserError, match="file 000001 is gone"):
        sets.read(store)


def test_what_is_put_while_a_listing_is_made_is_not_missed(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.of(output)
    body = store.get(layout.set_record(0))
    store.put(layout.set_record(1), re.sub(rb"ps-[0-9a-f]{16}", b"ps-" + 16 * b"f", body))
    names, answers = own_files.names, [[layout.set_record(1)]]
    monkeypatch.setattr(own_files, "names", lambda *given: answers.pop() if answers else names(*given))
    assert len(sets.read(store)) == 2


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"state": "running"}', b'{"state": "running", "time": "x", "heartbeat_s": 1}'],
)
def test_a_broken_heartbeat_counts_as_stale(output: str, body: bytes) -> None:
    store = Store.of(output)
    path = layout.run_status("20990101T000000-abcdef")
    store.put(path, body)
    found = status.read(output)
    assert found.state == "stale"
    assert found.runs[-1].state == "stale"
    assert store.url_of(path) in found.runs[-1].values["message"]
    assert json.dumps(found.as_json())


def test_a_broken_record_of_a_run_is_passed_over(output: str) -> None:
    store = Store.of(output)
    store.put(layout.run_record("20990101T000000-abcdef"), b"")
    assert runs.last_record(store)["state"] == "complete"
    assert status.read(output).state == "stale"
    store.put(layout.IDS, b"")
    assert card.write(store)
