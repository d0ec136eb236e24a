from pathlib import Path

import pytest

from clipseg_ray.errors import UserError
from clipseg_ray.training.config import TrainConfig

NEEDED = {"data": {"url": "scenes/"}, "output": {"url": "out/"}, "model": {"extract_layers": [1, 3, 5]}}


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = TrainConfig.parse({**NEEDED, "validation": {"url": "more/"}})
    assert config.data.url == [str(tmp_path / "scenes")]
    assert config.validation.url == [str(tmp_path / "more")]
    assert config.output.url == str(tmp_path / "out")
    assert TrainConfig.model_validate(config.resolved()) == config  # as workers get it


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": {"url": "a"}}, r"output: required, e\.g\. output: \{url: trained/\}"),
        ({"sampling": {"negative": 0.1}}, r"sampling\.negative: unknown key; did you mean sampling\.negatives\?"),
        ({"sampling": {"support_mode": "crop_blur"}}, r"sampling\.support_mode: 'crop_blur' is no mode; did you mean"),
        ({"sampling": {"template": "shufle"}}, r"sampling\.template: .*did you mean 'shuffle'"),
        ({"sampling": {"support_weight": [0.9, 0.1]}}, r"sampling\.support_weight: 0\.9 is more than 0\.1"),
        ({"model": {"train": "decoder"}}, r"model\.train: a decoder needs the CLIP of a model\.checkpoint"),
        ({"model": {"extract_layers": [3, 6, 9]}}, r"model\.extract_layers: the vision tower has blocks 0…5"),
        ({"model": {"extract_layers": [3, 1]}}, r"model\.extract_layers: give each once, in rising order"),
        ({"optimiser": {"batch_images": 5}, "workers": {"count": 2}}, "5 is no multiple of workers.count"),
        ({"optimiser": {"final_lr": 0.1}}, r"optimiser\.final_lr: is more than optimiser\.lr"),
        ({"optimiser": {"precision": "fp16"}}, r"optimiser\.precision: fp16 is for GPUs"),
        ({"data": {"url": ["a", "b"], "format": "phrasecut"}}, r"data\.url: a PhraseCut release is one folder"),
        ({"output": {"url": "s3://me:secret@bucket/x"}}, r"output\.url: s3://… holds credentials"),
    ],
)
def test_faults_are_reported(values, message):
    needed = {} if set(values) == {"data"} and "format" not in values["data"] else NEEDED
    with pytest.raises(UserError, match=message):
        TrainConfig.parse({**needed, **values})


@pytest.mark.parametrize("name", sorted(path.name for path in Path("configs").glob("train-*.yaml")))
def test_shipped_configurations_are_valid(name):
    TrainConfig.load(f"configs/{name}")


def test_the_second_stage_of_the_small_checkpoint_goes_on_from_the_first():
    towers, small = (TrainConfig.load(f"configs/train-scenes{stage}.yaml") for stage in ("-towers", ""))
    assert towers.output.url == str(Path.cwd() / "build" / "towers")
    assert small.model.checkpoint == f"{towers.output.url}/model"
    assert small.data.url == towers.data.url == [str(Path.cwd() / "build" / "scenes" / "train")]
