"""Compacting as a Ray job, from the command line."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipseg_ray.cli import app
from clipseg_ray.cluster import shard_map
from tests.pipeline import world as runs
from tests.report import world


@pytest.mark.usefixtures("ray_cluster")
def test_compact_writes_checks_and_then_has_nothing_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = world.write(tmp_path, [world.query("dog"), world.query("cat")], world.scattered(2, 9, ["dog", "cat"]))
    dest = str(tmp_path / "dest")
    said = CliRunner().invoke(app, ["compact", output, dest])
    assert said.exit_code == 0, said.output
    assert "2 of 2 file(s) written and checked, 54 rows" in said.output
    assert runs.masks(dest).to_pylist() == runs.masks(output).to_pylist()
    assert CliRunner().invoke(app, ["verify", dest]).exit_code == 0
    monkeypatch.setattr(shard_map, "map_shards", None)
    said = CliRunner().invoke(app, ["compact", output, dest])
    assert said.exit_code == 0, said.output
    assert said.output.startswith("Nothing to do")
    assert "incomplete" not in said.output
    assert (tmp_path / "dest" / "README.md").exists()
    next((tmp_path / "out" / "_shards").iterdir()).unlink()
    said = CliRunner().invoke(app, ["compact", output, dest])
    assert f"{output} is incomplete: 1 of 2 shards are not read to their end; run the job to its end" in said.output
