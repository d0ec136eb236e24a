"""The checkpoint inside the package: transformers gives the same masks, and they mean something."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

from clipseg_ray.demo.scenes import scene
from clipseg_ray.errors import UserError
from clipseg_ray.model import checkpoint
from clipseg_ray.model.checkpoint import load
from clipseg_ray.model.embedding import embed_texts
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.pixels.decode import decode

NAME = "builtin:scenes"
FOLDER = Path(checkpoint.__file__).parent / "shipped" / "scenes"
SEED = 40_000_000  # neither trained on nor measured in evaluation.md


@pytest.fixture(scope="module")
def shipped():
    return load(NAME)


@pytest.fixture(scope="module")
def scenes():
    return [scene(SEED + number) for number in range(24)]


@pytest.fixture(scope="module")
def engine(shipped):
    return Engine(make_model(shipped, batch=4, decode_chunk=8))


def _logits(shipped, engine, scenes, texts):
    """[b, q, h, w]"""
    pixels = np.stack([decode(one.jpeg, shipped.preprocessing, "exact").pixels_hwc for one in scenes])
    prompts = engine.embed(embed_texts(shipped, texts))
    return engine.decode(engine.encode(pixels), prompts).transpose(2, 3)


def test_it_is_small():
    assert (FOLDER / "model.safetensors").stat().st_size <= 6_000_000


def test_transformers_alone_gives_the_same_masks(shipped, engine, scenes):
    model = CLIPSegForImageSegmentation.from_pretrained(FOLDER).eval()
    processor = CLIPSegProcessor.from_pretrained(FOLDER)
    texts = ["a living creature", "something to sit on", "wheels"]
    ours = _logits(shipped, engine, scenes[:4], texts)
    for number, one in enumerate(scenes[:4]):
        image = Image.fromarray(one.pixels_hwc)
        inputs = processor(text=texts, images=[image] * len(texts), padding=True, return_tensors="pt")
        with torch.inference_mode():
            theirs = model(**inputs).logits
        assert (ours[number] - theirs).abs().max() <= 2e-5 * max(1.0, theirs.std().item())
        assert (((ours[number] > 0) != (theirs > 0)).float().mean()) < 1e-4


def test_its_masks_mean_something(shipped, engine, scenes):
    """Pooled over unseen scenes, what it marks for the objects that are there overlaps the truth."""
    inter = union = 0
    for one in scenes:
        asked = [truth for truth in one.truth if truth.kind == "object"]
        logits_qhw = _logits(shipped, engine, [one], [truth.texts[0] for truth in asked])[0]
        side = one.pixels_hwc.shape[0]
        resized = torch.nn.functional.interpolate(logits_qhw[:, None], (side, side), mode="bilinear")[:, 0]
        for truth, logits_hw in zip(asked, resized.numpy(), strict=True):
            inter += (truth.mask_hw & (logits_hw > 0)).sum()
            union += (truth.mask_hw | (logits_hw > 0)).sum()
    assert inter / union > 0.4


def test_a_misspelt_name_gets_the_nearest():
    with pytest.raises(UserError, match="did you mean builtin:scenes"):
        load("builtin:scene")
