import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from clipseg_ray.queries import prompt_set
from clipseg_ray.queries.composition import compose
from clipseg_ray.queries.modes import parse_mode
from clipseg_ray.queries.prompt_set import SCHEMA, PromptSet, embed
from clipseg_ray.queries.table import from_texts, load_queries
from tests import reference


def queries_of(folder, *rows, threshold=0.5):
    table = folder / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_queries(str(table), None, threshold)


def text_features(checkpoint, texts):
    """transformers' documented use: padded to 77 tokens."""
    tokenizer = reference.tokenizer_of(checkpoint)
    tokens = tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        return reference.model_of(checkpoint).clip.get_text_features(**tokens).pooler_output.numpy()


def image_features(checkpoint, folder, mode, mask=True):
    from PIL import Image

    picture_hwc = np.asarray(Image.open(folder / "cup.png"))
    mask_hw = np.asarray(Image.open(folder / "cup-mask.png")) > 0
    pixels = compose(picture_hwc, mask_hw if mask else None, parse_mode(mode), checkpoint.preprocessing)
    model = reference.model_of(checkpoint)
    with torch.inference_mode():
        return model.clip.get_image_features(torch.from_numpy(pixels)[None]).pooler_output[0].numpy()


def test_text_conditionals_are_those_of_transformers(tiny_checkpoint):
    texts = ["a dog", "something to sit on", "the wheels of a red car", "a dog " * 60]
    found = embed(from_texts(texts, 0.5), tiny_checkpoint)
    np.testing.assert_allclose(found, text_features(tiny_checkpoint, texts), atol=1e-5)
    assert found.dtype == np.float32


def test_ensembles_are_means_of_projections(tiny_checkpoint, tmp_path):
    (query,) = queries_of(tmp_path, {"text": ["dog", "cat"], "template": ["plain", "a photo of a {}."]})
    expected = text_features(tiny_checkpoint, ["dog", "a photo of a dog.", "cat", "a photo of a cat."]).mean(0)
    np.testing.assert_allclose(embed([query], tiny_checkpoint)[0], expected, atol=1e-5)


def test_picture_and_hybrid_conditionals(tiny_checkpoint, picture_folder):
    cup = {"image": "cup.png", "mask": "cup-mask.png"}
    picture, blend, pair, whole = queries_of(
        picture_folder,
        cup,
        {"text": "mug", **cup, "alpha": 0.3},
        {"image": ["cup.png", "cup.png"], "mask": ["cup-mask.png", [0, 0, 40, 30]], "mode": "overlay"},
        {"image": "cup.png", "mode": "whole"},
    )
    found = embed([picture, blend, pair, whole], tiny_checkpoint)
    seen = image_features(tiny_checkpoint, picture_folder, "crop_blur_highlight")
    everything = image_features(tiny_checkpoint, picture_folder, "whole", mask=False)
    np.testing.assert_allclose(found[0], seen, atol=1e-5)
    read = text_features(tiny_checkpoint, ["mug"])[0]
    np.testing.assert_allclose(found[1], 0.3 * seen + 0.7 * read, atol=1e-5)
    overlay = image_features(tiny_checkpoint, picture_folder, "overlay")
    np.testing.assert_allclose(found[2], (overlay + everything) / 2, atol=1e-5)
    np.testing.assert_allclose(found[3], everything, atol=1e-5)
    assert np.abs(found[0] - found[3]).max() > 1e-3


def test_hybrid_logits_are_those_of_conditional_embeddings(tiny_checkpoint, picture_folder):
    cup = {"image": "cup.png", "mask": "cup-mask.png"}
    (query,) = queries_of(picture_folder, {"text": "mug", **cup, "alpha": 0.3})
    conditional_1c = torch.from_numpy(embed([query], tiny_checkpoint))
    seen = image_features(tiny_checkpoint, picture_folder, "crop_blur_highlight")
    expected_1c = torch.from_numpy(0.3 * seen + 0.7 * text_features(tiny_checkpoint, ["mug"])[0])[None]
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found, expected = (
            reference.model_of(tiny_checkpoint)(pixel_values=pixels, conditional_embeddings=given).logits
            for given in (conditional_1c, expected_1c)
        )
    torch.testing.assert_close(found, expected, atol=2e-5 * max(1, float(expected.std())), rtol=0)


def test_each_prompt_and_picture_is_embedded_once(tiny_checkpoint, picture_folder, monkeypatch):
    texts, pictures = [], []
    real_texts, real_images = prompt_set.embed_texts, prompt_set.embed_images
    monkeypatch.setattr(prompt_set, "embed_texts", lambda c, t: texts.extend(t) or real_texts(c, t))
    monkeypatch.setattr(prompt_set, "embed_images", lambda c, p: pictures.extend(p) or real_images(c, p))
    sweep = {"text": "mug", "image": "cup.png", "mask": "cup-mask.png", "alpha": [0, 0.5, 1]}
    queries = queries_of(picture_folder, sweep, {"query_id": "m", "text": ["mug", "cup"]}, {"text": "cup"})
    assert embed(queries, tiny_checkpoint).shape == (5, 64)
    assert texts == ["mug", "cup"]
    assert len(pictures) == 1


def test_a_thousand_queries(tiny_checkpoint):
    queries = from_texts([f"thing {number % 500} of {number // 500}" for number in range(1000)], 0.5)
    assert embed(queries, tiny_checkpoint).shape == (1000, 64)


def test_sorted_named_and_back_from_its_table(tiny_checkpoint, picture_folder, tmp_path):
    queries = queries_of(
        picture_folder,
        {"query_id": "z", "text": "mug", "image": "cup.png", "mask": "cup-mask.png", "note": "é", "n": 3},
        {"query_id": "b", "text": ["dog", "cat"], "threshold": 0.25, "concept": ["dog", "cat"]},
        {"query_id": "a", "image": "cup.png", "mode": "whole"},
    )
    conditionals_qc = embed(queries, tiny_checkpoint)
    whole = PromptSet.of(queries, conditionals_qc)
    assert [query.query_id for query in whole.queries] == ["a", "b", "z"]
    np.testing.assert_array_equal(whole.conditionals_qc, conditionals_qc[::-1])
    np.testing.assert_allclose(1 / (1 + np.exp(-whole.threshold_logits_q)), [0.5, 0.25, 0.5], atol=1e-6)
    assert whole.threshold_logits_q.dtype == np.float32
    assert whole.threshold_logits_q[0] == 0
    assert whole.name == PromptSet.of(queries[::-1], conditionals_qc[::-1]).name
    assert len(whole.name) == 19

    table = whole.to_table()
    assert table.schema.equals(SCHEMA, check_metadata=True)
    pa.parquet.write_table(table, tmp_path / "set.parquet")
    again = PromptSet.from_table(pa.parquet.read_table(tmp_path / "set.parquet"))
    assert again.name == whole.name
    assert again.queries == whole.queries
    assert again.queries[2].columns == {"note": "é", "n": 3}
    np.testing.assert_array_equal(again.conditionals_qc, whole.conditionals_qc)


def test_a_table_that_was_tampered_with_is_noticed(tiny_checkpoint):
    queries = from_texts(["dog"], 0.5)
    table = PromptSet.of(queries, embed(queries, tiny_checkpoint)).to_table()
    changed = table.set_column(4, SCHEMA.field("threshold"), pa.array([0.4]))
    with pytest.raises(ValueError, match="its digest does not fit"):
        PromptSet.from_table(changed)


def test_equal_ids_are_refused():
    queries = from_texts(["dog"], 0.5) * 2
    with pytest.raises(ValueError, match="each query_id once"):
        PromptSet.of(queries, np.zeros((2, 4)))


def test_all_of_a_set_is_computed_on_one_thread(tiny_checkpoint, picture_folder, monkeypatch):
    seen = set()

    def noted(step):
        return lambda *given: (seen.add(torch.get_num_threads()), step(*given))[1]

    for name in ("embed_texts", "embed_images", "compose_support"):
        monkeypatch.setattr(prompt_set, name, noted(getattr(prompt_set, name)))
    cup = {"image": "cup.png", "mask": "cup-mask.png"}
    torch.set_num_threads(3)
    try:
        embed(queries_of(picture_folder, {"text": "mug", **cup, "alpha": 0.3}), tiny_checkpoint)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
    assert seen == {1}
