"""Prompt vectors against transformers' own."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPSegProcessor

from benchmarks.random_checkpoint import write_checkpoint
from clipseg_ray.model.checkpoint import load
from clipseg_ray.model.embedding import embed_images, embed_texts, normalise, token_counts
from tests import reference

TEXTS = ["a dog", "", "grass", "something to sit on", "zürich 日本", "a dog", "red circle " * 60, "one two three four"]


def test_texts_equal_transformers_padded_batch(demo):
    tokens = reference.tokenizer_of(demo)(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        expected = reference.model_of(demo).clip.get_text_features(**tokens).pooler_output.numpy()
    for batch in (1, 2, 64):
        conditionals = embed_texts(demo, TEXTS, batch=batch)
        assert conditionals.dtype == np.float32
        np.testing.assert_allclose(conditionals, expected, atol=1e-5)
    assert not np.allclose(np.linalg.norm(expected, axis=1), 1, atol=0.1)  # they are un-normalised
    assert embed_texts(demo, []).shape == (0, expected.shape[1])


def test_the_hubs_wrong_end_token_gives_the_same_vectors(demo, demo_directory, tmp_path):
    """The released text configuration says eos_token_id 2: transformers then pools at the largest token id."""
    expected = embed_texts(demo, TEXTS)
    folder = shutil.copytree(demo_directory, tmp_path / "released")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 2
    (folder / "config.json").write_text(json.dumps(config))
    other = load(str(folder))
    assert reference.model_of(other).clip.text_model.eos_token_id == 2
    np.testing.assert_allclose(embed_texts(other, TEXTS), expected, atol=1e-6)


def test_token_counts_are_those_before_truncation(demo):
    counts = token_counts(demo, ["a dog", "red " * 100])
    assert counts == [4, 102]
    assert token_counts(demo, []) == []


def test_images_equal_transformers_visual_prompts(demo, demo_directory):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    processor = CLIPSegProcessor.from_pretrained(demo_directory)
    prompts = processor(visual_prompt=[Image.fromarray(picture) for picture in pixels], return_tensors="pt")
    with torch.inference_mode():
        expected = (
            reference.model_of(demo)
            .get_conditional_embeddings(batch_size=3, conditional_pixel_values=prompts["conditional_pixel_values"])
            .numpy()
        )
    np.testing.assert_allclose(embed_images(demo, pixels, batch=2), expected, atol=1e-5)
    normalised = normalise(torch.from_numpy(pixels), demo.preprocessing)
    np.testing.assert_allclose(normalised.numpy(), prompts["conditional_pixel_values"].numpy(), atol=1e-5)
    np.testing.assert_allclose(embed_images(demo, normalised), expected, atol=1e-5)
    assert embed_images(demo, pixels[:0]).shape == (0, expected.shape[1])


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """As wide as the released model: sums of the small one are not shared out among threads."""
    directory = tmp_path_factory.mktemp("wide")
    write_checkpoint(
        directory,
        image_size=96,
        text_config={"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8},
        vision_config={"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
    )
    return load(str(directory))


def test_vectors_do_not_depend_on_how_many_threads_there_are(wide):
    texts = ["a dog", "grass", "a red mug on a table", *(f"thing number {number}" for number in range(40))]
    pixels = np.random.default_rng(0).integers(0, 256, (5, 96, 96, 3), dtype=np.uint8)
    alone = embed_texts(wide, texts), embed_images(wide, pixels)
    for threads in (2, 3, 8):
        torch.set_num_threads(threads)
        try:
            several = embed_texts(wide, texts), embed_images(wide, pixels)
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(1)
        for one, other in zip(alone, several, strict=True):
            np.testing.assert_array_equal(one, other)
