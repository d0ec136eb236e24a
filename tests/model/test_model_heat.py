"""Heat maps come from the engine with their masks, whatever else is asked of it."""

import numpy as np
import pytest
import torch

from clipseg_ray.masks.heat import quantised
from clipseg_ray.model import checkpoint
from clipseg_ray.model.embedding import embed_texts
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model


@pytest.mark.parametrize("presence", [False, True])
def test_heat_is_that_of_the_logits(checkpoint_dir, presence):
    loaded = checkpoint.load(str(checkpoint_dir))
    optional = {"presence": True, "heat": 24} if presence else {"heat": 24}
    model = make_model(loaded, batch=2, decode_chunk=3, columns=optional)
    engine = Engine(model, optional)
    side = loaded.preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8)
    prompts = engine.embed(embed_texts(loaded, ["a circle", "a chair"]))
    logits = engine.decode(engine.encode(pixels), prompts)
    blocks = list(engine.segment(pixels, prompts, np.zeros(2)))
    images, queries = (
        np.concatenate([getattr(block, name) for block in blocks]) for name in ("image_index_p", "query_index_p")
    )
    expected = quantised(logits[torch.from_numpy(images), torch.from_numpy(queries)], 24)
    heat = np.concatenate([block.optional["heat"] for block in blocks])
    assert np.abs(heat.astype(int) - expected.numpy()).max() <= 1
    assert all(list(block.optional) == list(optional) for block in blocks)
    plain = list(Engine(model).segment(pixels, prompts, np.zeros(2)))
    assert all(block.optional == {} for block in plain)
    assert all((a.bits_pn == b.bits_pn).all() for a, b in zip(plain, blocks, strict=True))
