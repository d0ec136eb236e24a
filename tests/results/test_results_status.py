"""What is reported of a run from its status file alone: states, staleness, several drivers, and the cost of asking."""

import itertools
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from clipseg_ray.cli import app
from clipseg_ray.errors import UserError
from clipseg_ray.report import status_text as words
from clipseg_ray.report.watch import EXIT_CODES
from clipseg_ray.results import driver_process, layout, record, runs, status
from clipseg_ray.storage import Store

_ids = itertools.count()


def values(**changed: Any) -> dict[str, Any]:
    """A status file as a run writes it."""
    return {
        "started": time.time() - 100,
        "driver": "machine:17",
        "part": None,
        "prompt_sets": ["ps-0123456789abcdef"],
        "shards": 5,
        "heartbeat_s": 15.0,
        "doing": "computing",
        "waits_for": "",
        "elapsed_s": 100.0,
        "chunks_done": 30,
        "chunks_total": 120,
        "chunks_total_is_estimate": True,
        "eta_s": 300.0,
        "last_chunk_s": 1.5,
        "images_per_s": 76.8,
        "images_per_s_lifetime": 70.0,
        "masks_per_s": 230.0,
        "masks_per_s_lifetime": 210.0,
        "actors": 4,
        "actors_pending": 1,
        "queue": 7,
        "chunks": 30,
        "images": 7680,
        "masks": 23040,
        "nonempty_masks": 9000,
        "bytes": 4_000_000,
        "images_by_status": {"ok": 7678, "undecodable": 2},
        "seconds_by_step": {"read": 10.0, "decode": 20.0, "model": 160.0, "rle": 6.0, "write": 4.0},
        "failed_chunks": 3,
        "failures": [{"cause": "s3://b/s-1.tar: cannot be reached", "chunks": 3, "examples": ["s-1.tar chunk 4"]}],
        "missing_chunks": None,
        "missing": [],
        "state": "running",
        "message": "",
        "time": time.time(),
        **changed,
    }


def put(store: Store, **changed: Any) -> str:
    """One more run."""
    run_id = f"20260101T{next(_ids):06d}-abcdef"
    runs.write_status(store, run_id, {"run_id": run_id, **values(**changed)})
    return run_id


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A dataset no run has begun to fill."""
    store = Store.of(str(tmp_path / "out"))
    record.create(store, record.DatasetRecord(input={}, model={}, masks={}, compute={}))
    return store


def shown(store: Store, *options: str) -> str:
    result = CliRunner().invoke(app, ["status", store.url, *options])
    assert result.exception is None, result.output
    return result.output


def test_a_running_run_is_shown_with_all_it_reports(store: Store) -> None:
    run_id = put(store)
    text = shown(store)
    for part in (
        f"run {run_id}: computing, last heartbeat 0m0",
        "chunks    30/~120 (25.0 %), 1m40s so far",
        "images/s 76.8 (whole run 70.0), masks/s 230 (whole run 210)",
        "left      5m00s",
        "actors    4 ready, 1 starting or waited for; 7 chunk(s) read and waiting",
        "7680 images (2 undecodable), 23040 masks (9000 not empty), 4.0 MB",
        "read 5%, decode 10%, model 80%, rle 3%, write 2%",
        "3 × s3://b/s-1.tar: cannot be reached",
        "s-1.tar chunk 4",
    ):
        assert part in text, text


def test_a_run_that_is_over_counts_nothing_so_far(store: Store) -> None:
    put(store, state="complete", chunks_done=120, chunks_total_is_estimate=False)
    assert "chunks    120/120 (100.0 %), 1m40s\n" in shown(store)


def test_what_a_run_waits_for_is_said(store: Store) -> None:
    put(store, waits_for="no actor ready for 40 s: each needs 1 GPU")
    assert "waits     no actor ready for 40 s: each needs 1 GPU" in shown(store)


def test_numbers_ray_does_not_report_are_unknown(store: Store) -> None:
    put(store, actors=None, actors_pending=None, queue=None)
    assert "actors    ? ready; ? chunk(s) read and waiting" in shown(store)
    assert "· actors ? · failed 3 ·" in words.line(values(actors=None))


def test_before_the_first_chunk_a_line_says_what_is_waited_for_and_no_rates() -> None:
    begun = values(chunks=0, images=0, failed_chunks=0, waits_for="the actors load the model")
    assert words.line(begun) == "chunks 30/~120 · the actors load the model"
    assert "images/s" in words.line({**begun, "failed_chunks": 1})
    assert words.line({**begun, "waits_for": ""}) == "chunks 30/~120 · actors 4"


@pytest.mark.parametrize(("age", "state"), [(0.1, "running"), (2, "running"), (4, "stale"), (-2, "running")])
def test_three_missed_heartbeats_make_it_stale(store: Store, age: float, state: str) -> None:
    put(store, heartbeat_s=1.0, time=time.time() - age)
    assert status.read(store.url).state == state


@pytest.mark.parametrize("ahead_s", [-7200.0, 7200.0])
def test_a_run_on_a_machine_with_another_clock(store: Store, ahead_s: float) -> None:
    """Of two drivers whose clocks are hours off, the one that beats is running; the other, which does not, is stale."""
    clock = {"heartbeat_s": 0.5, "time": time.time() + ahead_s}
    beating, dead = put(store, part="1/2", **clock), put(store, part="2/2", **clock)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.2):
            values_now = values(part="1/2", heartbeat_s=0.5, time=time.time() + ahead_s)
            runs.write_status(store, beating, {"run_id": beating, **values_now})

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        states = {run.run_id: run.state for run in status.read(store.url).runs}
        assert states == {beating: "running", dead: "stale"}
        assert [run.run_id for run in status.alive(store, lambda _: True)] == [beating]
    finally:
        stop.set()
        thread.join()


def test_a_fresh_heartbeat_is_not_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, part="1/2")
    put(store, part="2/2", state="complete", time=0.0)
    monkeypatch.setattr("clipseg_ray.results.status.time.sleep", lambda _: pytest.fail("it waited"))
    assert status.read(store.url).state == "running"


def test_a_dead_run_that_another_one_followed_is_not_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, time=0.0)
    put(store, state="complete")
    monkeypatch.setattr("clipseg_ray.results.status.time.sleep", lambda _: pytest.fail("it waited"))
    assert status.read(store.url).state == "complete"


@pytest.mark.parametrize("age", [0.0, 1000.0])
def test_a_run_whose_driver_died_on_this_machine_is_not_waited_for(
    store: Store, monkeypatch: pytest.MonkeyPatch, age: float
) -> None:
    died = {**driver_process.identity(), "started": "1"}
    run_id = put(store, time=time.time() - age, process=died)
    monkeypatch.setattr(status.time, "sleep", lambda _: pytest.fail("it waited"))
    assert status.read(store.url).state == "stale"
    assert status.alive(store, lambda run: run.run_id == run_id) == []


def test_staleness_goes_by_the_files_own_interval(store: Store) -> None:
    put(store, heartbeat_s=100.0, time=time.time() - 200)
    assert status.read(store.url).state == "running"
    assert "computing, last heartbeat 3m2" in shown(store)


def test_a_run_cut_off_before_its_first_heartbeat_is_stale(store: Store) -> None:
    runs.write_record(store, "20260101T000000-abcdef", {"state": "running"})
    assert status.read(store.url).state == "stale"
    assert "cut off before its first heartbeat" in shown(store)


def test_no_run_and_no_dataset(store: Store, tmp_path: Path) -> None:
    assert status.read(store.url).state == "none"
    assert "no run has begun" in shown(store)
    with pytest.raises(UserError, match="no dataset here"):
        status.read(str(tmp_path / "elsewhere"))


def test_the_newest_run_counts_and_drivers_side_by_side(store: Store) -> None:
    put(store, state="incomplete")
    put(store, state="complete")
    found = status.read(store.url)
    assert (found.state, len(found.runs), found.earlier) == ("complete", 1, 1)
    first = put(store, part="1/2", state="failed")
    second = put(store, part="2/2")
    assert [run.run_id for run in status.read(store.url).runs] == [first, second]
    assert status.read(store.url).state == "running"
    put(store, part="2/2", state="complete")
    assert status.read(store.url).state == "running", "an older run of the same share still writes"
    again = put(store, part="1/2", state="complete")
    assert again in {run.run_id for run in status.read(store.url).runs}
    assert first not in {run.run_id for run in status.read(store.url).runs}


def test_a_dataset_of_any_size_costs_a_handful_of_requests(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store)
    listed: list[str] = []
    real = Store.list

    def listing(self: Store, prefix: str = "") -> Any:
        listed.append(prefix)
        return real(self, prefix)

    monkeypatch.setattr(Store, "list", listing)
    shown(store)
    assert sorted(listed) == [layout.RUNS, layout.SETS]


def test_json_has_the_files_values_and_what_is_made_of_them(store: Store) -> None:
    run_id = put(store, heartbeat_s=0.3, time=time.time() - 100)
    found = json.loads(shown(store, "--json"))
    assert found["state"] == "stale"
    run = found["runs"][0]
    assert (run["run_id"], run["state"], run["chunks_done"]) == (run_id, "stale", 30)
    assert 100 <= run["heartbeat_age_s"] < 160
    documented = (Path(__file__).parents[2] / "docs" / "watching.md").read_text()
    for key in {*found, *run, *found["runs"][0]["failures"][0]}:
        assert f"`{key}`" in documented, f"{key} is not documented"


@pytest.mark.parametrize(
    ("state", "code"),
    [("complete", 0), ("incomplete", 1), ("stopped", 1), ("failed", 1), ("interrupted", 130)],
)
def test_watching_ends_with_the_run_and_as_it_ended(store: Store, state: str, code: int) -> None:
    put(store, state=state, message="Because.")
    result = CliRunner().invoke(app, ["status", store.url, "--watch"])
    assert result.exit_code == code == EXIT_CODES.get(state, 1)
    assert state in result.output


def test_watching_a_run_that_dies_ends(store: Store) -> None:
    put(store, heartbeat_s=0.3)
    result = CliRunner().invoke(app, ["status", store.url, "--watch"])
    assert result.exit_code == 1
    assert "its driver (machine:17) died or lost the storage" in result.output


def test_watching_in_a_log_is_a_line_a_heartbeat(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = put(store, heartbeat_s=30.0, chunks_done=30)
    beats = iter([{}, {"chunks_done": 31}, {"chunks_done": 31}, {"chunks_done": 120, "state": "complete"}])
    reported = time.time()

    def pass_by(seconds: float) -> None:
        assert seconds == 10.0
        changed = next(beats)
        same = "state" not in changed and changed.get("chunks_done", 30) == 30
        said = {"heartbeat_s": 30.0, "time": reported if same else reported + changed["chunks_done"], **changed}
        runs.write_status(store, run_id, values(**said))

    runs.write_status(store, run_id, values(heartbeat_s=30.0, time=reported))
    monkeypatch.setattr("clipseg_ray.report.watch.time.sleep", pass_by)
    result = CliRunner().invoke(app, ["status", store.url, "--watch"])
    assert result.exit_code == 0, result.output
    beats_shown = [line for line in result.output.splitlines() if line.startswith(f"{run_id}: chunks")]
    assert [line.partition("·")[0] for line in beats_shown] == [
        f"{run_id}: chunks 30/~120 ",
        f"{run_id}: chunks 31/~120 ",
    ]
    assert result.output.splitlines()[0] == beats_shown[0]


def test_a_network_that_is_away_for_a_while_does_not_end_the_watch(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = put(store)
    read, looks = status.read, itertools.count()

    def reading(output: str) -> status.Status:
        match next(looks):
            case 1 | 2:
                raise UserError("cannot be reached")
            case 3:
                runs.write_status(store, run_id, values(state="complete"))
        return read(output)

    monkeypatch.setattr("clipseg_ray.report.watch.status.read", reading)
    monkeypatch.setattr("clipseg_ray.report.watch.time.sleep", lambda _: None)
    assert CliRunner().invoke(app, ["status", store.url, "--watch"]).exit_code == 0
    monkeypatch.setattr("clipseg_ray.report.watch.status.read", lambda _: (_ for _ in ()).throw(UserError("gone")))
    assert isinstance(CliRunner().invoke(app, ["status", store.url, "--watch"]).exception, UserError)
