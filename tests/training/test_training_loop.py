"""The loop: it learns, goes on where it stopped with the same losses, and leaves what transformers loads."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

from clipseg_ray.errors import UserError
from clipseg_ray.model.checkpoint import load
from clipseg_ray.storage import Store
from clipseg_ray.training.config import OptimiserConfig, TrainConfig
from clipseg_ray.training.loop import train
from clipseg_ray.training.optimisation import learning_rate
from tests.training import world


class Stop(Exception):
    pass


def run(values, stop_after=None):
    records = []

    def report(record):
        records.append(record)
        if record["step"] == stop_after:
            raise Stop

    try:
        train(TrainConfig.parse(values), report=report)
    except Stop:
        assert stop_after is not None
    return records


def losses(records):
    return [(record["step"], record["loss"], record["bce"], record["norm"]) for record in records]


def test_it_learns(scenes, tmp_path):
    optimiser = {"steps": 120, "batch_images": 8, "lr": 6e-3, "hidden_lr": 0.02, "patch_weight": 0.1, "warmup": 5}
    sampling = {"negatives": 0.1, "support_share": 0.2, "support_kinds": ["object"]}
    values = world.settings(scenes, str(tmp_path / "out"), optimiser=optimiser, sampling=sampling)
    values["validation"] = {"url": str(scenes), "limit": 10, "every": 60}
    records = run(values)
    first, last = (np.mean([record["bce"] for record in part]) for part in (records[:10], records[-10:]))
    assert last < 0.85 * first
    measured = [record["validation"] for record in records if "validation" in record]
    assert [len(scores) for scores in measured] == [4, 4]
    for kind, scores in measured[1].items():
        assert scores["ap"] > measured[0][kind]["ap"]
    assert measured[1]["attribute"]["ap"] > 0.5


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_that_goes_on_has_the_losses_it_would_have_had(scenes, tmp_path, precision):
    optimiser = {"precision": precision, "warmup": 3}
    whole = run(world.settings(scenes, str(tmp_path / "whole"), optimiser=optimiser))
    values = world.settings(scenes, str(tmp_path / "stopped"), optimiser=optimiser)
    assert losses(run(values, stop_after=6)) == losses(whole)[:6]  # the checkpoint is that after step 4
    assert losses(run(values)) == losses(whole)[4:]
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("whole", "stopped")]
    assert [losses([json.loads(line)]) for line in logs[0]] == [losses([json.loads(line)]) for line in logs[1]]
    weights = [load(str(tmp_path / name / "model")).weights_sha256 for name in ("whole", "stopped")]
    assert weights[0] == weights[1]
    assert run(values) == []  # nothing is left to do


def test_what_is_left(scenes, tmp_path):
    values = world.settings(scenes, str(tmp_path / "out"))
    run(values)
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {
        "checkpoints/step-000000004.pt",
        "checkpoints/step-000000008.pt",
        "curve.png",
        "log.jsonl",
        *(
            f"model/{name}"
            for name in (
                "config.json",
                "model.safetensors",
                "preprocessor_config.json",
                "tokenizer.json",
                "tokenizer_config.json",
            )
        ),
    }
    with Image.open(tmp_path / "out" / "curve.png") as curve:
        assert curve.size == (900, 420)
    model, report = CLIPSegForImageSegmentation.from_pretrained(tmp_path / "out" / "model", output_loading_info=True)
    assert not any(report.values())
    processor = CLIPSegProcessor.from_pretrained(tmp_path / "out" / "model")
    for word in ("circle", "yellow", "corners"):
        assert len(processor.tokenizer(word)["input_ids"]) == 3
    batch = processor(text=["circle"], images=[Image.new("RGB", (90, 70))], padding=True, return_tensors="pt")
    with torch.inference_mode():
        assert model(**batch).logits.shape[-2:] == (48, 48)


def test_the_output_may_be_anywhere(scenes):
    values = world.settings(scenes, "memory://trained/out", optimiser={"steps": 4})
    run(values)
    store = Store.of("memory://trained/out")
    assert {"log.jsonl", "model/config.json", "checkpoints/step-000000004.pt"} <= {entry.path for entry in store.list()}


def test_another_configuration_does_not_go_on(scenes, tmp_path):
    values = world.settings(scenes, str(tmp_path / "out"))
    run(values, stop_after=4)
    changed = world.settings(scenes, str(tmp_path / "out"), optimiser={"lr": 0.5})
    with pytest.raises(UserError, match="out: was begun with another optimiser; set them back, or set another output"):
        run(changed)


def test_an_unusable_checkpoint_is_named(scenes, tmp_path):
    values = world.settings(scenes, str(tmp_path / "out"))
    (tmp_path / "out" / "checkpoints").mkdir(parents=True)
    (tmp_path / "out" / "checkpoints" / "step-000000004.pt").write_bytes(b"no")
    with pytest.raises(UserError, match=r"step-000000004\.pt: no training checkpoint"):
        run(values)


def test_the_rate_rises_and_follows_a_cosine():
    config = OptimiserConfig(steps=110, lr=1e-3, final_lr=1e-4, warmup=10)
    assert learning_rate(config, 0) == pytest.approx(1e-4)
    assert learning_rate(config, 9) == learning_rate(config, 10) == pytest.approx(1e-3)
    assert learning_rate(config, 60) == pytest.approx((1e-3 + 1e-4) / 2)
    assert learning_rate(config, 109) == pytest.approx(1e-4, rel=0.01)
