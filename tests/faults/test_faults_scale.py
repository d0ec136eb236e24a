"""A thousand queries over a hundred images: bounded memory, each distinct text embedded once."""

import statistics
from pathlib import Path

import numpy as np
import psutil
import pytest

from clipseg_ray import config
from clipseg_ray.pipeline import plan
from clipseg_ray.pipeline.segmenter import ChunkResult, Segmenter
from clipseg_ray.pipeline.settle import settle
from clipseg_ray.queries import prompt_set
from tests.pipeline import world

pytestmark = pytest.mark.slow


def test_a_thousand_queries_over_a_hundred_images(
    tmp_path: Path, checkpoint_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write_tars(str(tmp_path / "in"), shards=1, images=100)
    queries = [(f"q{i:04d}", f"thing number {i % 900}") for i in range(1000)]
    table = world.write_table(tmp_path / "queries.jsonl", queries)
    embedded: list[str] = []
    embed = prompt_set.embed_texts
    monkeypatch.setattr(
        prompt_set, "embed_texts", lambda loaded, texts: (embedded.extend(texts), embed(loaded, texts))[1]
    )
    output = str(tmp_path / "out")
    values = world.settings(str(tmp_path / "in"), output, checkpoint_dir, table, input={"chunk_images": 10})
    settled = settle(plan.look(config.parse(values)), "cpu", 1)
    assert len(embedded) == len(set(embedded)) == 900

    segmenter = Segmenter(settled.spec)
    used = []
    for row in settled.reader.rows(settled.survey().todo[0]):
        result = ChunkResult(shard=row.shard, chunk=row.chunk)
        segmenter.process(row, result)
        assert result.masks == 10_000
        used.append(psutil.Process().memory_full_info().uss)
    assert len(used) == 10
    # What grows stays: a moment's peak of the allocator is no growth.
    assert statistics.median(used[5:]) <= 1.1 * max(used[1:5])
    rows = world.masks(output)
    assert rows.num_rows == 100_000
    areas = rows.column("area").to_numpy()
    assert np.count_nonzero(areas) > 1000
    assert settled.survey().complete
