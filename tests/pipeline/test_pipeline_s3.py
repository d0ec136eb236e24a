"""The job as a user starts it, a process of its own, from a real S3 server to a real S3 server."""

import os
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest
import yaml
from pycocotools import mask as coco

from clipseg_ray.storage import Store
from tests.pipeline import world
from tests.servers.s3 import S3Server, ceph_installed

ROOT = Path(__file__).parents[2]


def segment(config: Path, *overrides: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python jobs/segment.py CONFIG``."""
    command = [sys.executable, str(ROOT / "jobs/segment.py"), str(config)]
    for override in overrides:
        command += ["-s", override]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, **environment}, cwd=config.parent
    )


@pytest.mark.parametrize("s3", ["ceph" if ceph_installed() else "moto"], indirect=True)
def test_from_s3_to_s3_and_into_four_tools(s3: S3Server, bucket: str, checkpoint_dir: Path, tmp_path: Path) -> None:
    world.write_tars(f"{bucket}/in", shards=2, images=5)
    output = f"{bucket}/out"
    table = world.write_table(tmp_path / "queries.jsonl")
    values = world.settings(f"{bucket}/in/s-{{000..001}}.tar", output, checkpoint_dir, table)
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(values))
    done = segment(config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Complete: 10 images (0 without masks" in done.stdout
    assert "Traceback" not in done.stderr

    store = Store.of(output)
    connection = duckdb.connect()
    connection.register_filesystem(store.fs)
    rows, area = connection.sql(f"SELECT count(*), sum(area) FROM '{output}/masks/*/*.parquet'").fetchall()[0]
    arrow = ds.dataset(f"{store.root}/masks", filesystem=store.fs).to_table()
    frame = pd.read_parquet(f"{output}/masks")
    polar = pl.concat(
        pl.read_parquet(store.get(entry.path)) for entry in store.list("masks") if entry.path.endswith(".parquet")
    )
    assert rows == arrow.num_rows == len(frame) == len(polar) == 30
    assert area == sum(arrow.column("area").to_pylist()) == frame["area"].sum() == polar["area"].sum()
    for row in arrow.to_pylist():
        mask = coco.decode({"size": [row["height"], row["width"]], "counts": row["counts"]})
        assert mask.sum() == row["area"]
        assert row["prompt_set"].startswith("ps-")
    # Neither key nor secret is in anything that was written.
    for entry in store.list():
        body = store.get(entry.path)
        assert s3.secret.encode() not in body
        assert s3.key.encode() not in body

    again = segment(config)
    assert again.returncode == 0
    assert again.stdout.startswith("Nothing to do: all 6 chunk(s) of 2 shard(s)")

    started = time.monotonic()
    denied = segment(config, f"output.url={bucket}/other", AWS_ACCESS_KEY_ID="AKIAWRONGWRONGWRONG1")
    assert denied.returncode == 2
    assert denied.stderr.startswith("error: ")
    assert "access denied" in denied.stderr
    assert len(denied.stderr.strip().splitlines()) == 1, denied.stderr
    assert time.monotonic() - started < 60
