"""Training whose workers or driver are killed: it ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from clipseg_ray.model.checkpoint import load
from clipseg_ray.storage import Store
from tests.faults.test_faults_processes import finish, kill_with_children
from tests.servers.s3 import ceph_installed
from tests.training import world

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def start(config: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "jobs" / "train.py"), str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Scenes, and the output of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("training")
    world.write_shards(folder / "scenes", shards=2, images=20, side=64)
    code, text = finish(start(write_config(folder, "undisturbed")))
    assert code == 0, text
    return folder


def write_config(folder: Path, output: str) -> Path:
    optimiser = {"steps": 200, "batch_images": 8, "precision": "auto"}
    values = world.settings(folder / "scenes", str(folder / output), optimiser=optimiser, output={"every": 20})
    values["workers"] = {"count": 2, "cpus": 0.5}
    (folder / f"{output}.yaml").write_text(yaml.safe_dump(values))
    return folder / f"{output}.yaml"


def steps_done(output: Path) -> int:
    """Those of the newest checkpoint."""
    return max((int(path.stem.rpartition("-")[2]) for path in output.glob("checkpoints/step-*.pt")), default=0)


def wait_for_its_checkpoint(process: subprocess.Popen[str], output: Path) -> None:
    """Until there is one more than when it began: how far those before it came depends on the machine."""
    before, deadline = steps_done(output), time.monotonic() + 300
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"the run ended early: {finish(process)}")
        if steps_done(output) > before:
            return
        time.sleep(0.05)
    raise AssertionError("no checkpoint in time")


def losses(output: Path) -> list[tuple[int, float]]:
    records = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [(record["step"], record["loss"]) for record in records]


def assert_undisturbed(folder: Path, output: str) -> None:
    """The same losses at every step, and the same model, byte for byte."""
    assert [step for step, _ in losses(folder / output)] == list(range(1, 201))
    assert losses(folder / output) == losses(folder / "undisturbed")
    digests = {load(str(folder / name / "model")).weights_sha256 for name in (output, "undisturbed")}
    assert len(digests) == 1


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that compute."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "RayTrainWorker" in " ".join(child.cmdline())]


def test_an_interrupt_a_killed_driver_and_a_killed_worker_leave_no_trace(folder: Path) -> None:
    config = write_config(folder, "disturbed")
    interrupted = start(config)
    wait_for_its_checkpoint(interrupted, folder / "disturbed")
    interrupted.send_signal(signal.SIGINT)
    code, text = finish(interrupted, 120)
    assert code == 130, text
    assert f"Interrupted; run it again to go on: clipseg-ray train {config}" in text
    assert "Traceback" not in text

    killed = start(config)
    wait_for_its_checkpoint(killed, folder / "disturbed")
    kill_with_children(killed)
    assert not (folder / "disturbed" / "model").exists()

    loses_a_worker = start(config)
    wait_for_its_checkpoint(loses_a_worker, folder / "disturbed")
    workers = workers_of(loses_a_worker)
    assert len(workers) == 2
    workers[-1].kill()
    code, text = finish(loses_a_worker)
    assert code == 0, text
    assert_undisturbed(folder, "disturbed")


@pytest.mark.parametrize("s3", ["ceph" if ceph_installed() else "moto"], indirect=True)
def test_checkpoints_and_the_model_on_s3(folder: Path, bucket: str) -> None:
    config = write_config(folder, "s3")
    values = yaml.safe_load(config.read_text())
    values["output"]["url"] = f"{bucket}/trained"
    config.write_text(yaml.safe_dump(values))
    code, text = finish(start(config))
    assert code == 0, text
    store = Store.of(f"{bucket}/trained")
    names = {entry.path for entry in store.list()}
    assert {"log.jsonl", "status.json", "curve.png", "checkpoints/step-000000200.pt", "model/config.json"} <= names
    assert not [name for name in names if name.startswith("_ray")]
    records = [json.loads(line) for line in store.get("log.jsonl").splitlines()]
    assert [(record["step"], record["loss"]) for record in records] == losses(folder / "undisturbed")


def test_a_run_that_keeps_dying_ends_with_what_to_do(folder: Path) -> None:
    config = write_config(folder, "dying")
    values = yaml.safe_load(config.read_text())
    values["workers"] |= {"retries": 0}
    config.write_text(yaml.safe_dump(values))
    process = start(config)
    wait_for_its_checkpoint(process, folder / "dying")
    for worker in workers_of(process):
        worker.kill()
    code, text = finish(process)
    assert code == 2, text
    assert "training failed 1 time(s)" in text
    assert "run it again to go on" in text


def test_what_a_user_can_put_right_is_reported_without_a_retry(folder: Path) -> None:
    config = write_config(folder, "wrong")
    values = yaml.safe_load(config.read_text())
    values["data"]["held_out"] = ["circle", "square", "triangle", "corners"]
    config.write_text(yaml.safe_dump(values))
    code, text = finish(start(config))
    assert code == 2, text
    assert text.strip().splitlines()[-1].startswith("error: ")
    assert "no image there has a query that holds" in text
    assert "Traceback" not in text


def test_workers_that_cannot_start_end_the_run_with_what_is_missing(folder: Path) -> None:
    config = write_config(folder, "large")
    values = yaml.safe_load(config.read_text())
    values["workers"] = {"count": 2, "cpus": 500, "wait_s": 20}
    config.write_text(yaml.safe_dump(values))
    code, text = finish(start(config))
    assert code == 2, text
    assert "the workers did not start: 2 of 500 CPU each are needed, the cluster has" in text
