"""A driver and its actor that stand still long enough to be taken for dead, and wake up beside the run that went on."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from clipseg_ray.results import status
from clipseg_ray.upkeep.verification import verify
from tests.faults import standing_still
from tests.faults.test_faults_processes import finish, start
from tests.pipeline import world

pytestmark = pytest.mark.slow

STANDING_STILL = """
import ray
from clipseg_ray.pipeline import progress
from tests.faults.standing_still import install
progress.HEARTBEAT_S = 2.0
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
         runtime_env={"worker_process_setup_hook": install})
"""


def wait_for(process: subprocess.Popen[str], path: Path) -> str:
    """What is in a file, once there is something."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"the run ended early: {finish(process)}")
        if path.exists() and (text := path.read_text()):
            return text
        time.sleep(0.05)
    raise AssertionError(f"no {path} in time")


@pytest.mark.parametrize("driver_first", [True, False])
def test_a_frozen_driver_beside_a_retry(
    tmp_path: Path, checkpoint_dir: Path, monkeypatch: pytest.MonkeyPatch, driver_first: bool
) -> None:
    (tmp_path / "in").mkdir()
    images = [tmp_path / "in" / f"p{i}.jpg" for i in range(6)]
    for i, image in enumerate(images):
        image.write_bytes(world.jpeg(i))
    (tmp_path / "in" / "list.csv").write_text("\n".join(["url", *(path.name for path in images)]) + "\n")
    table = world.write_table(tmp_path / "queries.jsonl")
    values = world.settings(str(tmp_path / "in" / "list.csv"), str(tmp_path / "out"), checkpoint_dir, table)
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump({**values, "input": {**values["input"], "format": "manifest"}}))

    gone = images[1].read_bytes()
    images[1].unlink()
    monkeypatch.setenv(standing_still.FOLDER, str(tmp_path))
    first = start(config, None, STANDING_STILL)
    actor = int(wait_for(first, tmp_path / "pid"))
    frozen = [first.pid, actor] if driver_first else [actor, first.pid]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        images[1].write_bytes(gone)
        time.sleep(3 * 2.0 + 1)
        code, text = finish(start(config, 1, "", "--retry-failed"))
        assert code == 0, text
        before = world.digests(str(tmp_path / "out"), "masks") | world.digests(str(tmp_path / "out"), "images")
        (tmp_path / "go").touch()
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
            time.sleep(3)
    code, text = finish(first)
    assert code == 1, text
    assert "1 chunk(s) were computed here and by another run, and differ" in text
    assert "another run has put this part, and it is of other images or statuses" in text
    assert world.digests(str(tmp_path / "out"), "masks") | world.digests(str(tmp_path / "out"), "images") == before
    assert world.masks(str(tmp_path / "out")).num_rows == 6 * 3
    report = verify(str(tmp_path / "out"))
    assert report.sound, report.text()
    assert status.read(str(tmp_path / "out")).state in ("incomplete", "complete")
