"""Training on Ray Train: two workers compute what one does."""

import json

import pytest

from clipseg_ray.training import job
from clipseg_ray.training.config import TrainConfig
from clipseg_ray.training.loop import train
from tests.training import world


def test_two_workers_have_the_losses_of_one(scenes, tmp_path, ray_cluster, capsys):
    # The contrast is among the picture prompts of one worker, so it alone depends on the number of workers.
    optimiser = {"contrastive_weight": 0.0}
    validation = {"url": str(scenes), "limit": 5, "every": 8}
    alone = world.settings(scenes, str(tmp_path / "alone"), optimiser=optimiser, validation=validation)
    train(TrainConfig.parse(alone))
    values = world.settings(scenes, str(tmp_path / "two"), optimiser=optimiser, validation=validation)
    values["workers"] = {"count": 2, "cpus": 0.5}
    assert job.run(TrainConfig.parse(values)) == f"{tmp_path}/two/model"
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("alone", "two")
    )
    assert [record["bce"] for record in two] == pytest.approx([record["bce"] for record in one], rel=1e-4)
    for kind, scores in one[-1]["validation"].items():
        assert two[-1]["validation"][kind]["ap"] == pytest.approx(scores["ap"], abs=0.02)
    assert "step 8/8: loss" in capsys.readouterr().out
    assert not (tmp_path / "two" / "_ray").exists()
