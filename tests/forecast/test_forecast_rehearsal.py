"""``plan --measure``: what it finds, and that it leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from clipseg_ray import config
from clipseg_ray.cli import app
from clipseg_ray.errors import UserError
from clipseg_ray.forecast import preflight, rehearsal
from clipseg_ray.forecast.prediction import DRIVER_CHUNKS_PER_S
from clipseg_ray.pipeline.plan import look
from clipseg_ray.pipeline.settle import settle
from clipseg_ray.results import layout
from clipseg_ray.storage import Store
from tests.made import make
from tests.pipeline import world
from tests.servers.s3 import S3Server, ceph_installed

SHORT = {"STEP_S": 0.1, "JOB_S": 0.5, "CHUNKS_AN_ACTOR": 2}

HURRIED = f"""
from clipseg_ray.cli import main
from clipseg_ray.cluster.connection import expect_lost_nodes, guard_a_local_cluster
guard_a_local_cluster()
expect_lost_nodes()
from clipseg_ray.forecast import rehearsal
vars(rehearsal).update({SHORT})
main()
"""
"""The command line with ``SHORT`` measurements."""


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SHORT.items():
        monkeypatch.setattr(rehearsal, name, value)


@pytest.fixture
def values(tmp_path: Path, checkpoint_dir: Path) -> dict[str, Any]:
    world.write_tars(str(tmp_path / "in"), shards=3, images=8)
    table = world.write_table(tmp_path / "queries.jsonl")
    return world.settings(str(tmp_path / "in"), str(tmp_path / "out"), checkpoint_dir, table)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.usefixtures("ray_cluster")
def test_a_new_output_is_foretold_and_not_begun(tmp_path: Path, values: dict[str, Any]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({**values, "prices": {"cpu_node_hour": 3.6}}))
    before = files(tmp_path)
    ended = CliRunner().invoke(app, ["plan", str(path), "--measure", "--json"])
    assert ended.exit_code == 0, ended.output
    found = json.loads(ended.stdout)
    assert files(tmp_path) == before
    assert found["plan"]["shards"] == 3
    measured, predicted = found["measured"], found["predicted"]
    assert measured["job"]["actors"] == 1
    assert measured["job"]["images_per_s"] > 0
    assert measured["costs"]["masks"] == 3
    assert min(measured["costs"]["measured_s"].values()) >= 0.1
    assert 20 <= predicted["left"]["images"] <= 28
    assert 10 <= predicted["left"]["chunks"] <= 15
    (scale,) = predicted["scales"]
    most = DRIVER_CHUNKS_PER_S * predicted["left"]["images"] / predicted["left"]["chunks"]
    assert scale["images_per_s"] == pytest.approx(min(measured["job"]["images_per_s"], most))
    assert scale["cost"] == pytest.approx(3.6 * scale["seconds"] / 3600)
    assert scale["seconds"] > predicted["overhead_s"] > 0


@pytest.mark.usefixtures("ray_cluster")
def test_in_an_old_output_only_what_it_lacks_is_measured(tmp_path: Path, values: dict[str, Any]) -> None:
    make(values)
    assert preflight.plan_of(config.parse(values), True, print)[1] is None  # nothing is left to do
    output = str(tmp_path / "out")
    more = world.write_table(tmp_path / "more.jsonl", [*world.QUERIES, ("ring", "a ring")])
    before = world.digests(output, "")
    wanted = config.parse({**values, "queries": {"table": more}})
    _, found = preflight.plan_of(wanted, True, print)
    assert found is not None
    assert found.measurement.costs.masks == 1
    assert found.prediction.left.images == 24
    assert found.prediction.left.chunks == 12
    assert found.prediction.masks == 24
    assert world.digests(output, "") == before
    assert not [path for path in tmp_path.iterdir() if layout.REHEARSAL in path.name]
    assert "24 images in 12 chunk(s), 24 masks" in found.text()


@pytest.mark.usefixtures("ray_cluster")
def test_a_measurement_that_fails_leaves_nothing_either(tmp_path: Path, values: dict[str, Any]) -> None:
    (tmp_path / "bad").mkdir()
    for number in range(3):
        (tmp_path / "bad" / f"{number}.jpg").write_bytes(b"no picture")
    before = files(tmp_path)
    with pytest.raises(UserError, match=r"none of \d sampled images can be decoded"):
        preflight.plan_of(config.parse({**values, "input": {"url": str(tmp_path / "bad")}}), True, print)
    assert files(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("s3", "prefix"),
    [("moto", ""), ("ceph" if ceph_installed() else "moto", "/masks/affordances")],
    indirect=["s3"],
)
def test_a_bucket_is_left_as_it_was(
    bucket: str, s3: S3Server, values: dict[str, Any], prefix: str, tmp_path: Path
) -> None:
    """In a process and on a Ray of its own: the session's cluster was started before anybody knew of this server."""
    store = Store.of(bucket)
    if prefix:
        world.write_tars(f"{bucket}/in", shards=2, images=6)
        values["input"]["url"] = f"{bucket}/in"
    before = {entry.path for entry in store.list()}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({**values, "output": {"url": f"{bucket}{prefix}"}}))
    command = [sys.executable, "-c", HURRIED, "plan", str(path), "--measure", "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["predicted"]["masks"] > 0
    assert {entry.path for entry in store.list()} == before


def test_plan_alone_reads_listings_and_loads_no_ray(tmp_path: Path, values: dict[str, Any]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    ended = CliRunner().invoke(app, ["plan", str(path), "--json"])
    assert ended.exit_code == 0
    found = json.loads(ended.stdout)
    assert found.keys() == {"plan"}
    assert found["plan"]["queries_new"] == ["circle", "sit", "wheels"]
    assert not (tmp_path / "out").exists()


def test_prices_are_no_part_of_the_dataset(tmp_path: Path, values: dict[str, Any]) -> None:
    first = settle(look(config.parse(values)), "cpu", 1)
    priced = {**values, "prices": {"gpu_node_hour": 1.2}}
    assert settle(look(config.parse(priced)), "cpu", 1).record.fingerprint == first.record.fingerprint
    with pytest.raises(UserError, match=r"prices\.gpu_hour: unknown key; did you mean prices\.gpu_node_hour"):
        config.parse({**values, "prices": {"gpu_hour": 1.2}})
    with pytest.raises(UserError, match=r"prices\.cpu_node_hour"):
        config.parse({**values, "prices": {"cpu_node_hour": -1}})


def test_what_a_killed_measurement_left_is_no_input(tmp_path: Path, values: dict[str, Any]) -> None:
    output = tmp_path / "in" / "out"
    stray = Path(f"{output}{layout.REHEARSAL}0a") / "s-000.tar"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(next((tmp_path / "in").glob("*.tar")).read_bytes())
    assert len(look(config.parse({**values, "output": {"url": str(output)}})).shards) == 3
