"""Each step measured by itself, by the readers' and actors' own code, on inputs of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipseg_ray import config
from clipseg_ray.errors import UserError
from clipseg_ray.forecast.step_costs import STEPS, StepCosts, measure
from clipseg_ray.pipeline import plan
from clipseg_ray.pipeline.segmenter import Segmenter
from clipseg_ray.pipeline.settle import settle
from clipseg_ray.pipeline.work import ShardWork
from tests.pipeline import world


def costs(values: dict[str, Any], seconds: float = 0.05) -> StepCosts:
    settled = settle(plan.look(config.parse(values)), "cpu", 1)
    return measure(settled.reader, Segmenter(settled.spec), settled.survey().todo, seconds)


def test_every_step_is_measured_and_counted_by_the_image(tmp_path: Path, checkpoint_dir: Path) -> None:
    world.write_tars(str(tmp_path / "in"), shards=3, images=8)
    table = world.write_table(tmp_path / "queries.jsonl")
    values = world.settings(
        str(tmp_path / "in"), str(tmp_path / "out"), checkpoint_dir, table, input={"chunk_images": 4}
    )
    found = costs(values)
    assert found.wall_s.keys() == found.cpu_s.keys() == set(STEPS)
    assert min(found.measured_s.values()) >= 0.05
    assert all(0 < found.wall_s[step] < 10 for step in STEPS)
    assert found.shards == 3
    assert found.masks == len(world.QUERIES)
    assert found.undecodable == 0
    sizes = [path.stat().st_size for path in (tmp_path / "in").iterdir()]
    assert 24 * 0.8 < found.images_a_byte * sum(sizes) < 24 * 1.2
    assert 100 < found.output_bytes < 20_000
    assert 1 <= found.piece <= 4
    assert found.wall_s["model"] > found.wall_s["rle"]


def test_images_that_cannot_be_decoded_are_a_share(tmp_path: Path, checkpoint_dir: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(8):
        (tmp_path / "in" / f"{number}.jpg").write_bytes(b"no picture" if number % 4 == 0 else world.jpeg(number))
    values = world.settings(
        str(tmp_path / "in"), str(tmp_path / "out"), checkpoint_dir, world.write_table(tmp_path / "queries.jsonl")
    )
    found = costs(values, seconds=0.5)
    assert found.undecodable == 0.25
    assert found.masks == 0.75 * len(world.QUERIES)
    assert found.images_a_byte == 0  # a folder's listing states how many there are


def test_nothing_to_decode_is_said(tmp_path: Path, checkpoint_dir: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.jpg").write_bytes(b"no picture")
    values = world.settings(
        str(tmp_path / "in"), str(tmp_path / "out"), checkpoint_dir, world.write_table(tmp_path / "queries.jsonl")
    )
    with pytest.raises(UserError, match=r"none of \d sampled images can be decoded"):
        costs(values)


@pytest.mark.parametrize("shard_bytes", [None, b"no tar at all"])
def test_a_shard_that_is_gone_or_no_shard_is_said(
    tmp_path: Path, checkpoint_dir: Path, shard_bytes: bytes | None
) -> None:
    world.write_tars(str(tmp_path / "in"), shards=1, images=2)
    values = world.settings(
        str(tmp_path / "in"), str(tmp_path / "out"), checkpoint_dir, world.write_table(tmp_path / "queries.jsonl")
    )
    settled = settle(plan.look(config.parse(values)), "cpu", 1)
    todo: tuple[ShardWork, ...] = settled.survey().todo
    (path,) = (tmp_path / "in").iterdir()
    path.unlink() if shard_bytes is None else path.write_bytes(shard_bytes)
    with pytest.raises(UserError, match=r"s-000\.tar"):
        measure(settled.reader, Segmenter(settled.spec), todo, 0.05)
