"""Many labelled images, counted by several workers: what one alone would find."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from clipseg_ray.evaluation.tuning import job
from clipseg_ray.evaluation.tuning.labelled_images import labelled_images
from clipseg_ray.queries.table import load_queries
from tests.evaluation.world import write_scenes

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_several_lots_are_counted_side_by_side(
    tmp_path: Path, checkpoint_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scenes(str(tmp_path / "truth"), shards=3, images=2, seed=20_000_000)
    rows = [{"query_id": name, "text": f"a {name}"} for name in ("duck", "lamp", "car", "house", "tree")]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    queries = load_queries(str(tmp_path / "t.jsonl"), None, 0.5)
    images = labelled_images([str(tmp_path / "truth")], {})
    found = job.count(queries, "t", images, str(checkpoint_dir))
    assert "scored 3/3" in capsys.readouterr().err
    write_scenes(str(tmp_path / "whole"), shards=1, images=6, seed=20_000_000)
    alone = job.count(queries, "t", labelled_images([str(tmp_path / "whole")], {}), str(checkpoint_dir))
    assert "scored" not in capsys.readouterr().err
    assert set(found) == set(alone) == set(images.contents.vocabulary) & {query.query_id for query in queries}
    assert found
    for query_id, counts in found.items():
        # Other images share a batch: equal but for ties of bf16.
        assert counts.present == alone[query_id].present
        assert (counts.foreground_r == alone[query_id].foreground_r).all()
        assert np.allclose(counts.true_rt, alone[query_id].true_rt, rtol=0.05, atol=20)
