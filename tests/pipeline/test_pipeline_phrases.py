"""Phrases that come with the images: each image is asked its own, beside a table and alone."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pycocotools import mask as coco
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

from clipseg_ray.errors import UserError
from clipseg_ray.model.checkpoint import load
from clipseg_ray.queries.phrase_set import PhraseSet, phrase_id, phrases_of
from clipseg_ray.queries.phrases import PhraseEmbedder
from clipseg_ray.storage import Store
from tests.made import make
from tests.pipeline import world
from tests.tars import tar_of

PHRASES = {
    "a": ["the red circle", "a square on the left", "the red circle"],
    "b": "something to sit on",
    "c": None,
    "d": ["the red circle"],
    "e": [],
}


@pytest.fixture
def source(tmp_path: Path) -> str:
    files: dict[str, bytes] = {}
    for number, (key, phrases) in enumerate(PHRASES.items()):
        files[f"{key}.jpg"] = world.jpeg(number)
        files[f"{key}.json"] = json.dumps({"phrases": phrases} if phrases is not None else {}).encode()
    Store.of(str(tmp_path / "in")).put("s.tar", tar_of(files))
    return str(tmp_path / "in")


def test_each_image_is_asked_its_own_phrases_beside_a_table(tmp_path: Path, source: str, checkpoint_dir: Path) -> None:
    output = str(tmp_path / "out")
    table = world.write_table(tmp_path / "queries.jsonl")
    both = world.settings(source, output, checkpoint_dir, table, input={"decode": "exact"}, queries={"from": "phrases"})
    make(both)
    rows = world.masks(output).to_pylist()
    asked = sorted((row["image_id"][-1], row["query_text"]) for row in rows if row["query_text"] is not None)
    assert asked == [
        ("a", "a square on the left"),
        ("a", "the red circle"),
        ("b", "something to sit on"),
        ("d", "the red circle"),
    ]
    assert len(rows) == 4 + 3 * len(PHRASES)
    assert len({row["prompt_set"] for row in rows}) == 2
    assert {row["query_id"] for row in rows if row["query_text"] == "the red circle"} == {phrase_id("the red circle")}

    model = CLIPSegForImageSegmentation.from_pretrained(checkpoint_dir).eval()
    processor = CLIPSegProcessor.from_pretrained(checkpoint_dir, backend="pil")
    from io import BytesIO

    from PIL import Image

    for row in rows:
        if row["query_text"] is None:
            continue
        image = Image.open(BytesIO(world.jpeg(list(PHRASES).index(row["image_id"][-1]))))
        inputs = processor(text=[row["query_text"]], images=[image], return_tensors="pt", padding=True)
        with torch.inference_mode():
            logits = model(**inputs).logits.reshape(96, 96)
        ours = coco.decode({"size": [96, 96], "counts": row["counts"]}).astype(bool)
        assert np.count_nonzero(ours != (logits > 0).numpy()) <= 2
        assert row["score"] == pytest.approx(logits.sigmoid().max().item(), abs=1e-4)

    assert world.run(both).message.startswith("Nothing to do")
    with pytest.raises(UserError, match=r"from:phrases: templates: the dataset has \['{}'\], this table"):
        world.run({**both, "queries": {"from": "phrases", "template": "fixed"}})


def test_phrases_alone_and_the_same_as_beside_a_table(tmp_path: Path, source: str, checkpoint_dir: Path) -> None:
    alone = str(tmp_path / "alone")
    values = world.settings(source, alone, checkpoint_dir, "unused")
    values["queries"] = {"from": "phrases", "template": "shuffle"}
    make(values)
    assert world.masks(alone).num_rows == 4
    assert world.images(alone).num_rows == 5


@pytest.mark.usefixtures("ray_cluster")
def test_phrases_in_a_column_of_bytes_and_one_that_is_too_long(tmp_path: Path, checkpoint_dir: Path) -> None:
    long = "something to sit on in the corner " * 12
    (tmp_path / "in").mkdir()
    table = pa.table({"caption": [b"a red circle", long.encode()], "image": [world.jpeg(0), world.jpeg(1)]})
    pq.write_table(table, tmp_path / "in" / "s.parquet")
    values = world.settings(str(tmp_path / "in"), str(tmp_path / "out"), checkpoint_dir, "unused")
    values["queries"] = {"from": "caption"}
    outcome = world.run(values)
    assert outcome.code == 0, outcome.message
    assert sorted(world.masks(str(tmp_path / "out"))["query_text"].to_pylist()) == ["a red circle", long.strip()]
    assert "CLIP reads 77 tokens; what follows is ignored in 1 phrase(s) of more: 'something to" in outcome.message


def test_phrases_of_a_sample() -> None:
    assert phrases_of({"p": [" a ", "b", "a", ""]}, "p", "x") == ["a", "b"]
    assert phrases_of({"p": "one"}, "p", "x") == ["one"]
    assert phrases_of({}, "p", "x") == []
    with pytest.raises(UserError, match=r"queries\.from: field 'p' of x holds \[1\]"):
        phrases_of({"p": [1]}, "p", "x")


def test_a_phrase_is_embedded_once_while_remembered(checkpoint_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(str(checkpoint_dir))
    asked: list[str] = []
    from clipseg_ray.queries import phrases

    embed = phrases.embed_texts
    monkeypatch.setattr(phrases, "embed_texts", lambda ckpt, texts: (asked.extend(texts), embed(ckpt, texts))[1])
    embedder = PhraseEmbedder(loaded, PhraseSet("p", ("{}", "a photo of a {}."), 0.5), remembered=2)
    first = embedder.embed(["cat", "dog", "cat"])
    assert asked == ["cat", "a photo of a cat.", "dog", "a photo of a dog."]
    np.testing.assert_array_equal(first[0], first[2])
    assert first[0] == pytest.approx(embed(loaded, ["cat", "a photo of a cat."]).mean(0), abs=1e-6)
    embedder.embed(["dog", "cat"])
    assert len(asked) == 4
    many = embedder.embed(["one", "two", "three"])
    assert many.shape == (3, first.shape[1])
    embedder.embed(["three", "two"])
    assert len(asked) == 10
    assert embedder.embed([]).shape == (0, first.shape[1])
