"""Two workers compute what one does: side by side without Ray, and on Ray Train."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

from clipseg_ray.training import job
from clipseg_ray.training.config import TrainConfig
from clipseg_ray.training.loop import train
from tests.training import world

# The contrast is among the picture prompts of one worker, and dropout is by its own random numbers: both depend on the
# number of workers.
ROOT = Path(__file__).parents[2]
OPTIMISER = {"contrastive_weight": 0.0, "patch_weight": 0.1, "hidden_lr": 0.01}
SECOND = """
import sys, torch.distributed as dist
from clipseg_ray.training.config import TrainConfig
from clipseg_ray.training.loop import train
dist.init_process_group("gloo", init_method=sys.argv[1], rank=1, world_size=2)
train(TrainConfig.model_validate_json(sys.argv[2]), rank=1, world=2)
"""


@pytest.fixture(scope="module")
def alone(scenes, tmp_path_factory) -> list[dict]:
    """The log of one worker."""
    folder = tmp_path_factory.mktemp("alone")
    train(config(scenes, folder))
    return log(folder)


def config(scenes: Path, folder: Path) -> TrainConfig:
    validation = {"url": str(scenes), "limit": 5, "every": 8}
    model = {"decoder_dropout": 0}
    values = world.settings(scenes, str(folder), optimiser=OPTIMISER, validation=validation, model=model)
    return TrainConfig.parse(values)


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def assert_alike(one: list[dict], two: list[dict]) -> None:
    assert [record["bce"] for record in two] == pytest.approx([record["bce"] for record in one], rel=1e-4)
    assert one[-1]["validation"].keys() == two[-1]["validation"].keys()
    for kind, scores in one[-1]["validation"].items():
        assert two[-1]["validation"][kind]["ap"] == pytest.approx(scores["ap"], abs=0.02)


def test_two_workers_have_the_losses_of_one(scenes, tmp_path, alone):
    meeting = f"file://{tmp_path}/meeting"
    settings = config(scenes, tmp_path / "two")
    command = [sys.executable, "-c", SECOND, meeting, json.dumps(settings.resolved())]
    second = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        dist.init_process_group("gloo", init_method=meeting, rank=0, world_size=2)
        train(settings, rank=0, world=2)
        assert second.wait(60) == 0
    finally:
        second.kill()
        dist.destroy_process_group()
    assert_alike(alone, log(tmp_path / "two"))


@pytest.mark.slow
def test_two_workers_of_ray_have_the_losses_of_one(scenes, tmp_path, alone, ray_cluster, capsys):
    settings = config(scenes, tmp_path / "two")
    settings = settings.model_copy(update={"workers": settings.workers.model_copy(update={"count": 2, "cpus": 0.5})})
    assert job.run(settings) == f"{tmp_path}/two/model"
    assert_alike(alone, log(tmp_path / "two"))
    assert "step 8/8: loss" in capsys.readouterr().out
    assert not (tmp_path / "two" / "_ray").exists()
