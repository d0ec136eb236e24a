"""Training from CLIP alone: its towers as they are, a new decoder, and a model that everyone loads."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import CLIPModel, CLIPSegForImageSegmentation

from clipseg_ray.errors import UserError
from clipseg_ray.model.checkpoint import load
from clipseg_ray.model.embedding import embed_texts, normalise
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.training.config import TrainConfig, TrainingModelConfig
from clipseg_ray.training.loop import train
from clipseg_ray.training.starting import start
from tests.training import world

SECTION = {"image_size": 96, "extract_layers": [3, 7, 9], "reduce_dim": 16, "decoder_intermediate_size": 32}


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_towers_are_clips_and_the_decoder_is_new(clip, clip_folder, form):
    given = clip_folder if form == "folder" else clip[1]
    begun, again, other = (start(TrainingModelConfig(checkpoint=str(given), **SECTION), [], seed) for seed in (1, 1, 2))
    theirs = CLIPModel.from_pretrained(clip_folder).state_dict()
    own = begun.model.state_dict()
    for name, tensor in theirs.items():
        torch.testing.assert_close(own[f"clip.{name}"], tensor, rtol=0, atol=0)
    decoder = [name for name in own if name.startswith("decoder.")]
    assert len(own) == len(decoder) + len(theirs)
    assert all(torch.equal(own[name], again.model.state_dict()[name]) for name in decoder)
    drawn = other.model.state_dict()
    assert not torch.equal(own["decoder.reduces.0.weight"], drawn["decoder.reduces.0.weight"])
    assert own["decoder.reduces.0.weight"].shape == (16, 128)
    assert begun.frozen_clip
    assert {name for name, each in begun.model.named_parameters() if each.requires_grad} == set(decoder)
    assert begun.preprocessing.mean == (0.485, 0.456, 0.406)  # CLIPSeg's, not CLIP's
    assert begun.preprocessing.size == 96
    assert (
        begun.tokenizer("a cat")["input_ids"]
        == start(TrainingModelConfig(checkpoint=str(clip_folder), **SECTION), [], 0).tokenizer("a cat")["input_ids"]
    )


def test_a_decoder_trained_over_clip_is_a_checkpoint_for_everyone(clip_folder, scenes, tmp_path):
    values = world.settings(scenes, str(tmp_path / "out"), optimiser={"steps": 3, "contrastive_weight": 0.0})
    values["model"] = {"checkpoint": str(clip_folder), **SECTION}
    train(TrainConfig.parse(values))
    made = tmp_path / "out" / "model"
    loaded = load(str(made))
    stock = CLIPSegForImageSegmentation.from_pretrained(made).eval()
    theirs = CLIPModel.from_pretrained(clip_folder).state_dict()
    for name, tensor in theirs.items():
        assert torch.equal(loaded.weights.tensors[f"clip.{name}"], tensor), name
    pixels = np.random.default_rng(1).integers(0, 256, (1, 96, 96, 3), np.uint8)
    with torch.inference_mode():
        text = torch.as_tensor(embed_texts(loaded, ["a cat"]))
        normal = normalise(torch.from_numpy(pixels), loaded.preprocessing)
        expected = stock(pixel_values=normal, conditional_embeddings=text, interpolate_pos_encoding=True).logits
    model = make_model(loaded, batch=1, decode_chunk=1)
    assert Engine(model) is not None
    assert expected.shape[-2:] == (96, 96)
    assert stock.config.extract_layers == [3, 7, 9]


def test_what_is_no_clip_or_lacks_a_block_is_named(clip_folder, tmp_path):
    deeper = TrainingModelConfig(checkpoint=str(clip_folder), **{**SECTION, "extract_layers": [3, 7, 10]})
    with pytest.raises(UserError, match=r"model\.extract_layers: .*clip has blocks 0…9"):
        start(deeper, [], 0)
    other = tmp_path / "other"
    shutil.copytree(clip_folder, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"model_type": "siglip"}))
    with pytest.raises(UserError, match=r"model\.checkpoint: .*holds a 'siglip' model, not CLIPSeg"):
        start(TrainingModelConfig(checkpoint=str(other), **SECTION), [], 0)
    with pytest.raises(UserError, match=r"ViT-B-16\.pt: not found"):
        start(TrainingModelConfig(checkpoint=str(tmp_path / "ViT-B-16.pt"), **SECTION), [], 0)
