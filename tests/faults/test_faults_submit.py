"""A run submitted to a cluster of other processes, from a folder that is not the repository's."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from benchmarks.random_checkpoint import write_checkpoint
from clipseg_ray.results import runs
from clipseg_ray.storage import Store
from clipseg_ray.submit.job_server import JobServer
from tests.pipeline import world
from tests.servers.ray_head import RayHead, ray_head

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with ray_head() as running:
        yield running


def submit(head: RayHead, folder: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """``clipseg-ray submit ask.yaml`` in ``folder``: exit code, standard output, standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "clipseg_ray", "submit", "ask.yaml", "--address", head.address, *arguments],
        env={**head.environment, "PYTHONPATH": str(ROOT), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    return done.returncode, done.stdout, done.stderr


def write(folder: Path, checkpoint: Path, **sections: dict) -> None:
    """A run of four chunks whose paths are relative to ``folder``."""
    world.write_tars(str(folder / "in"), shards=2, images=4)
    world.write_table(folder / "queries.jsonl")
    (folder / "model").symlink_to(checkpoint)
    values = world.settings("in", "out", Path("model"), "queries.jsonl", **sections)
    (folder / "ask.yaml").write_text(yaml.safe_dump(values))


def test_a_submitted_run_is_followed_and_then_reported(head: RayHead, tmp_path: Path, checkpoint_dir: Path) -> None:
    write(tmp_path, checkpoint_dir)
    code, out, err = submit(head, tmp_path)
    assert code == 0, err
    assert f"-a1 submitted to {head.address}: about 2 chunk(s) → {tmp_path}/out" in err
    assert f"  follow: clipseg-ray submit ask.yaml --address {head.address} --follow" in out
    job = err.split()[0]

    code, out, err = submit(head, tmp_path, "--follow")
    assert code == 0, out + err
    assert f"{job} is running already on {head.address}; nothing was submitted" in err
    assert "Complete: 8 images" in out
    assert f"{job} ended with exit code 0" in err
    images, masks = world.images(str(tmp_path / "out")), world.masks(str(tmp_path / "out"))
    assert (images.num_rows, masks.num_rows) == (8, 24)

    code, out, err = submit(head, tmp_path)
    assert (code, err) == (0, "")
    assert out.startswith("Nothing to do: all 4 chunk(s) of 2 shard(s) (8 images) have masks for all 3 queries")

    code, out, err = submit(head, tmp_path, RAY_AUTH_TOKEN="0" * 64)
    assert (code, out) == (2, "")
    assert err == f"error: {head.address}: the cluster refuses the token from RAY_AUTH_TOKEN; take the cluster's\n"


def test_a_stopped_job_writes_how_it_ended_and_goes_on_as_another_attempt(
    head: RayHead, tmp_path: Path, checkpoint_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, checkpoint_dir, input={"chunk_images": 1})
    world.write_tars(str(tmp_path / "in"), shards=2, images=60)
    _, _, err = submit(head, tmp_path)
    job = err.split()[0]
    deadline = time.monotonic() + 1800
    while not list((tmp_path / "out").glob("masks/*/*.parquet")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    ray = str(Path(sys.executable).parent / "ray")
    stop = [ray, "job", "stop", "--no-wait", "--address", head.address, job]
    subprocess.run(stop, env=head.environment, check=True, timeout=300, capture_output=True)
    code, out, err = submit(head, tmp_path, "--follow")
    if f"{job} is running already" in err:
        assert code == 130, out + err
        code, out, err = submit(head, tmp_path, "--follow")
    assert code == 0, out + err
    assert f"{job[:-1]}2 ended with exit code 0" in err
    states = [values["state"] for _, values in runs.newest(Store.of(str(tmp_path / "out")))[0]]
    assert states == ["interrupted", "complete"]
    assert world.images(str(tmp_path / "out")).num_rows == 120
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.environment["RAY_AUTH_TOKEN"])
    assert JobServer(head.address).submit(job, "true", tmp_path / "in", {}) is False, "Ray refuses an id for ever"


def test_what_fails_gives_its_exit_code_and_is_tried_again_as_another_attempt(
    head: RayHead, tmp_path: Path, checkpoint_dir: Path
) -> None:
    write(tmp_path, checkpoint_dir, model={"device": "cuda"}, pool={"gpus": 0})
    for attempt in (1, 2):
        code, out, err = submit(head, tmp_path, "--follow")
        assert code == 2, out + err
        assert f"-a{attempt} ended with exit code 2" in err
        assert "error: pool.gpus: 0 with model.device: cuda" in out
        assert f"submit it again: clipseg-ray submit ask.yaml --address {head.address}\n" in err


def test_a_submitted_run_writes_the_bytes_of_a_run_here(head: RayHead, tmp_path: Path) -> None:
    # As wide as the released model, whose sums several threads would share out and round otherwise.
    write_checkpoint(
        tmp_path / "wide",
        image_size=96,
        text_config={"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8},
    )
    write(tmp_path, tmp_path / "wide")
    code, out, err = submit(head, tmp_path, "--follow")
    assert code == 0, out + err
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-m", "clipseg_ray", "run", "ask.yaml", "-s", "output.url=here"],
        env={**environment, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for folder in ("queries", "images", "masks"):
        here = world.digests(str(tmp_path / "here"), folder)
        assert here == world.digests(str(tmp_path / "out"), folder), folder
        assert here


def test_nobody_at_the_address(tmp_path: Path, checkpoint_dir: Path) -> None:
    write(tmp_path, checkpoint_dir)
    nobody = RayHead("http://127.0.0.1:9", dict(os.environ))
    code, out, err = submit(nobody, tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith("error: http://127.0.0.1:9: cannot be reached (")
    assert len(err.splitlines()) == 1
