"""What a program may ask with: texts, queries, rows with pictures and masks in any form, become the table's queries."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from clipseg_ray.errors import UserError
from clipseg_ray.inference.asked import queries_of
from clipseg_ray.queries.table import load_queries
from tests.pipeline import world


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    (tmp_path / "mug.png").write_bytes(_png(Image.open(io.BytesIO(world.jpeg(3, 120, 90)))))
    return tmp_path / "mug.png"


def _png(image: Image.Image) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def test_rows_are_the_rows_of_a_table(tmp_path: Path, picture: Path) -> None:
    rows = [
        {"text": "a cat", "group": "animals"},
        {"text": "a dog", "group": "animals", "weight": 2, "threshold": 0.3},
        {"query_id": "mug", "text": "a mug", "image": str(picture), "mask": [10, 10, 40, 30], "alpha": [0.25, 0.75]},
        {"expression": "a-cat OR mug@0.25"},
    ]
    (tmp_path / "table.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert queries_of(rows, 0.4) == load_queries(str(tmp_path / "table.jsonl"), None, 0.4)
    assert [query.query_id for query in queries_of(["a cat", "a dog"], 0.5)] == ["a-cat", "a-dog"]
    assert queries_of("a cat", 0.5) == queries_of([{"text": "a cat"}], 0.5)


def test_masks_in_every_form_are_one_mask(picture: Path) -> None:
    inside_hw = np.zeros((90, 120), bool)
    inside_hw[10:40, 10:50] = True
    rle = coco_mask.encode(np.asfortranarray(inside_hw, np.uint8))
    masks = [
        [10, 10, 40, 30], (10, 10, 40, 30), np.array([10, 10, 40, 30]), inside_hw, inside_hw.astype(np.uint8) * 255,
        _png(Image.fromarray(inside_hw.astype(np.uint8))), {"size": [90, 120], "counts": rle["counts"].decode()},
    ]  # fmt: skip
    supports = [queries_of({"image": str(picture), "mask": mask}, 0.5)[0].supports[0] for mask in masks]
    assert {support.mask_sha256 for support in supports} == {supports[0].mask_sha256}
    assert np.array_equal(supports[0].mask(), inside_hw)


def test_pictures_in_every_form_have_the_same_pixels(picture: Path) -> None:
    opened = Image.open(picture)
    forms = [picture, str(picture), picture.read_bytes(), opened, np.asarray(opened)]
    for form in forms:
        (support,) = queries_of({"image": form, "mask": [1, 1, 9, 9]}, 0.5)[0].supports
        assert np.array_equal(support.pixels(), np.asarray(opened))


def test_queries_and_texts_may_stand_together(tmp_path: Path) -> None:
    table = load_queries(world.write_table(tmp_path / "table.jsonl"), None, 0.5)
    found = queries_of([*table, "a cat"], 0.3)
    assert [query.query_id for query in found] == ["circle", "sit", "wheels", "a-cat"]
    assert [query.threshold for query in found] == [0.5, 0.5, 0.5, 0.3]
    with pytest.raises(UserError, match="'circle' is there twice"):
        queries_of([*table, {"query_id": "circle", "text": "x"}], 0.5)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ([], "none is given"),
        ([7], "int is none"),
        ([{"image": "nowhere.jpg", "mask": [1, 1, 2, 2]}], "nowhere.jpg: no such file"),
        ([{"image": world.bomb(), "mask": [1, 1, 2, 2]}], "too many pixels"),
        ([{"image": world.jpeg(1), "mask": world.bomb()}], "mask .* cannot be decoded"),
        ([{"image": np.zeros((4, 4), np.float32)}], "give uint8"),
        ([{"txt": "a cat"}], "did you mean 'text'"),
        ([{"text": "half \ud83d"}], "half a character"),
        ([{"text": "a cat", "threshold": 3}], "threshold"),
        ([{"text": "a cat", "suppress": ["a-dgo"]}, "a dog"], "a-dog"),
    ],
)
def test_faults_are_named(asked: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        queries_of(asked, 0.5)  # type: ignore[arg-type]
