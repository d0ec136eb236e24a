"""One small dataset, made once by the job's own steps in this process, without Ray."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from clipseg_ray import config
from clipseg_ray.pipeline.plan import look
from clipseg_ray.pipeline.segmenter import ChunkResult, Segmenter
from clipseg_ray.pipeline.settle import settle
from clipseg_ray.storage import Store
from tests.pipeline import world
from tests.tars import tar_of


def make(values: Mapping[str, Any]) -> None:
    """What a whole run writes."""
    settled = settle(look(config.parse(values)), "cpu", 1)
    segmenter = Segmenter(settled.spec)
    for work in settled.survey().todo:
        for row in settled.reader.rows(work):
            assert row.failure is None
            segmenter.process(row, ChunkResult(shard=row.shard, chunk=row.chunk))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, checkpoint_dir: Path) -> str:
    """Three tars of twelve images, one of them broken, and three queries. Read only."""
    folder = tmp_path_factory.mktemp("made")
    world.write_tars(str(folder / "in"), shards=2, images=5)
    broken = {"broken.jpg": b"no picture", "last.jpg": world.jpeg(77)}
    Store.of(str(folder / "in")).put("s-002.tar", tar_of(broken))
    table = world.write_table(folder / "queries.jsonl")
    settings = world.settings(f"{folder}/in/*.tar", f"{folder}/out", checkpoint_dir, table, masks={"heat": 24})
    make(settings)
    return f"{folder}/out"


@pytest.fixture
def output(made: str, tmp_path: Path) -> str:
    """A copy of the dataset to spoil."""
    shutil.copytree(made, tmp_path / "out")
    return str(tmp_path / "out")


@pytest.fixture
def upload(made: str) -> Callable[[str], str]:
    """Puts the dataset at a URL."""

    def put(url: str) -> str:
        store, source = Store.of(url), Store.of(made)
        for entry in source.list():
            store.put(entry.path, source.get(entry.path))
        return url

    return put
