"""The seeded checkpoint is a CLIPSeg checkpoint like any other, and its masks are worth looking at."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

from benchmarks.random_checkpoint import WORDS, write_checkpoint


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo") / "checkpoint"
    write_checkpoint(directory)
    return directory


def _images(n):
    rng = np.random.default_rng(5)
    small = rng.integers(0, 256, (n, 6, 8, 3), dtype=np.uint8)
    return [Image.fromarray(image).resize((320, 240), Image.Resampling.BILINEAR) for image in small]


def test_transformers_loads_it_whole_and_masks_differ_by_picture_and_query(directory):
    processor = CLIPSegProcessor.from_pretrained(directory)
    model, loading = CLIPSegForImageSegmentation.from_pretrained(directory, output_loading_info=True)
    assert not any(loading.values())
    texts = ["a dog", "red circle", "something to sit on", "zxqy"]
    masks = []
    for image in _images(3):
        batch = processor(text=texts, images=[image] * len(texts), padding=True, return_tensors="pt")
        assert batch["pixel_values"].shape[-2:] == (352, 352)
        with torch.inference_mode():
            masks.append(model(**batch).logits > 0)
    mask_bqhw = torch.stack(masks)
    coverage_bq = mask_bqhw.float().mean(dim=(2, 3))
    assert coverage_bq.min() > 0.01
    assert coverage_bq.max() < 0.9
    for one, other in [(mask_bqhw[:, i], mask_bqhw[:, j]) for i in range(4) for j in range(i)] + [
        (mask_bqhw[i], mask_bqhw[j]) for i in range(3) for j in range(i)
    ]:
        assert ((one & other).sum() / (one | other).sum()) < 0.9


def test_it_is_small_and_the_seed_decides_the_weights(directory, tmp_path):
    assert sum(file.stat().st_size for file in directory.iterdir()) < 2 * 2**20
    write_checkpoint(tmp_path / "again")
    write_checkpoint(tmp_path / "other", seed=1)
    weights, again, other = (
        load_file(folder / "model.safetensors") for folder in (directory, tmp_path / "again", tmp_path / "other")
    )
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert not all(torch.equal(weights[name], other[name]) for name in weights)


def test_the_tokenizer_knows_its_words_and_takes_any_text(directory):
    tokenizer = CLIPSegProcessor.from_pretrained(directory).tokenizer
    assert tokenizer.model_max_length == 77
    for word in WORDS.split():
        assert len(tokenizer(word)["input_ids"]) == 3
    text = "zürich 日本 🦆 #12"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id not in ids[1:-1]
    # The decoder puts spaces at word ends; the characters themselves must all come back.
    assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == text.replace(" ", "")
    assert len(tokenizer("word " * 200, truncation=True)["input_ids"]) == 77


def test_the_architecture_and_the_preprocessor_can_be_chosen(tmp_path):
    write_checkpoint(tmp_path, image_size=96, reduce_dim=8, vision_config={"patch_size": 8})
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["reduce_dim"], config["vision_config"]["patch_size"]) == (8, 8)
    assert json.loads((tmp_path / "preprocessor_config.json").read_text())["size"] == {"height": 96, "width": 96}
