"""A Predictor against a run: the same bytes; and what a program can give and ask."""

from __future__ import annotations

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from clipseg_ray import Predictor
from clipseg_ray.errors import UserError
from clipseg_ray.inference import predictor as predictors
from clipseg_ray.queries.table import load_queries
from clipseg_ray.sources import images
from tests.made import make
from tests.pipeline import world

TABLE = [
    {"query_id": "circle", "text": "a red circle", "threshold": 0.48},
    {"query_id": "sit", "text": ["something to sit on", "a seat"], "template": "a photo of {}"},
    {"query_id": "cat", "text": "a cat", "group": "animals", "weight": 1.5, "threshold": 0.45},
    {"query_id": "dog", "text": "a dog", "group": "animals", "threshold": 0.45},
    {"query_id": "sky", "text": "the sky", "group": "animals", "keep": False},
    {"query_id": "wheels", "text": "has wheels", "suppress": ["circle"], "threshold": 0.4},
    {"query_id": "both", "expression": "circle AND NOT cat", "threshold": 0.3},
    {"query_id": "picture", "text": "a mug", "image": "mug.jpg", "mask": [20, 10, 60, 50], "alpha": 0.3},
]
IMAGES = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of several sizes and a table with everything in it."""
    place = tmp_path_factory.mktemp("predictor")
    (place / "photos").mkdir()
    for number in range(IMAGES):
        (place / "photos" / f"{number}.jpg").write_bytes(world.jpeg(number, 100 + 20 * number, 90))
    (place / "mug.jpg").write_bytes(world.jpeg(70))
    (place / "table.jsonl").write_text("\n".join(map(json.dumps, TABLE)))
    return place


@pytest.fixture(scope="module")
def photos(folder: Path) -> list[str]:
    return [str(path) for path in sorted((folder / "photos").iterdir())]


@pytest.fixture(scope="module")
def predictor(checkpoint_dir: Path) -> Predictor:
    return Predictor(str(checkpoint_dir), precision="fp32")


def run_of(folder: Path, checkpoint: Path, output: Path, size: str) -> pa.Table:
    settings = world.settings(
        str(folder / "photos"), str(output), checkpoint, str(folder / "table.jsonl"), input={"chunk_images": IMAGES},
        masks={"size": size},
    )  # fmt: skip
    make(settings)
    return world.masks(str(output))


@pytest.mark.parametrize("size", ["model", "image"])
def test_predictor_and_run_give_equal_bytes(
    folder: Path, photos: list[str], predictor: Predictor, checkpoint_dir: Path, tmp_path: Path, size: str
) -> None:
    written = run_of(folder, checkpoint_dir, tmp_path / "out", size)
    predictor.set_images(photos, ids=[Path(photo).name for photo in photos])
    found = predictor.predict(table=str(folder / "table.jsonl"), size=size)
    assert found.to_arrow().equals(written.select(found.to_arrow().column_names).cast(found.to_arrow().schema))
    assert written.num_rows == IMAGES * 7
    assert 0 < pc.sum(pc.greater(written["area"], 0)).as_py() < written.num_rows
    assert written["prompt_set"][0] == found.to_arrow()["prompt_set"][0]


def test_many_threads_compute_what_one_does(predictor: Predictor, photos: list[str], checkpoint_dir: Path) -> None:
    alone = Predictor(str(checkpoint_dir), precision="fp32", threads=1)
    before = torch.get_num_threads()
    for each in (alone, predictor):
        each.set_images(photos)
    first, second = (each.predict(["a cat", "a dog"], threshold=0.45).to_arrow() for each in (alone, predictor))
    assert first.equals(second)
    assert torch.get_num_threads() == before


def test_masks_scores_and_probabilities_agree(predictor: Predictor, photos: list[str], folder: Path) -> None:
    predictor.set_images(photos)
    found = predictor.predict(load_queries(str(folder / "table.jsonl"), None, 0.5))
    assert [query.query_id for query in found.queries] == [row["query_id"] for row in TABLE if row.get("keep", True)]
    limits = np.array([query.threshold for query in found.queries])
    rows = {(row["image_id"], row["query_id"]): row for row in found.to_arrow().to_pylist()}
    for place, photo in enumerate(photos):
        masks_qhw, probabilities_qhw = found.masks(photo), found.probabilities(place)
        assert probabilities_qhw.shape == masks_qhw.shape == (7, *predictor.grid)
        off = np.abs(probabilities_qhw - limits[:, None, None]) > 1e-6
        assert np.array_equal((probabilities_qhw > limits[:, None, None])[off], masks_qhw[off])
        for index, query in enumerate(found.queries):
            row = rows[photo, query.query_id]
            own = coco_mask.decode({"size": [row["height"], row["width"]], "counts": row["counts"]})
            assert np.array_equal(own, masks_qhw[index])  # upright
            assert found.scores[place, index] == np.float32(row["score"])
            assert found.coverages(place)[index] == np.float32(row["coverage"])
            assert abs(probabilities_qhw[index].max() - row["score"]) < 1e-5 or row["score"] == 0


def test_masks_at_image_size_are_its_probabilities(predictor: Predictor, photos: list[str], folder: Path) -> None:
    predictor.set_images(photos)
    found = predictor.predict(table=str(folder / "table.jsonl"), size="image")
    limits = np.array([query.threshold for query in found.queries])[:, None, None]
    for place, row in enumerate(predictor.images.to_pylist()):
        masks_qhw, probabilities_qhw = found.masks(place), found.probabilities(place, "image")
        assert masks_qhw.shape == probabilities_qhw.shape == (7, row["height"], row["width"])
        off = np.abs(probabilities_qhw - limits) > 1e-6
        assert off.mean() > 0.99
        assert np.array_equal((probabilities_qhw > limits)[off], masks_qhw[off])


def test_a_stream_comes_in_order_with_maps_of_bytes(predictor: Predictor, photos: list[str]) -> None:
    predictor.set_images(photos)
    whole = predictor.predict(["a cat", "a dog"])
    met = []
    for rows in predictor.stream(["a cat", "a dog"], probabilities="uint8", first=1):
        assert rows.probabilities_phw.dtype == np.uint8
        for p, (image, query) in enumerate(zip(rows.image_index_p, rows.query_index_p, strict=True)):
            met.append((image, query))
            assert rows.score_p[p] == whole.scores[image, query]
            gone = np.abs(rows.probabilities_phw[p] / 255 - whole.probabilities(image)[query])
            assert gone.max() <= 0.5 / 255 + 1e-6
            assert rows.table["image_id"][p].as_py() == photos[image]
    assert [image for image, _ in met] == sorted(image for image, _ in met)
    assert sorted(met) == [(image, query) for image in range(1, IMAGES) for query in range(2)]


def test_a_stream_that_is_closed_computes_no_more(predictor: Predictor, photos: list[str]) -> None:
    predictor.set_images(photos)
    stream = predictor.stream("a cat")
    next(stream)
    stream.close()
    assert predictor.predict("a dog").scores.shape == (IMAGES, 1)


def test_images_are_taken_in_every_form(predictor: Predictor, photos: list[str], folder: Path) -> None:
    data = Path(photos[0]).read_bytes()
    opened = Image.open(io.BytesIO(data))
    forms = [photos[0], Path(photos[1]), data, opened, np.asarray(opened), np.asarray(opened.convert("RGBA"))]
    predictor.set_images(forms)
    assert predictor.image_ids == [photos[0], photos[1], "image-2", "image-3", "image-4", "image-5"]
    scores = predictor.predict("a cat").scores[:, 0]
    assert scores[0] == scores[2]
    assert scores[3] == scores[4] == scores[5]
    assert abs(scores[0] - scores[3]) < 0.01  # Pillow's resize, within a grey level


def test_exact_decoding_is_the_same_for_files_and_pillow(checkpoint_dir: Path, photos: list[str]) -> None:
    exact = Predictor(str(checkpoint_dir), precision="fp32", decode="exact")
    exact.set_images([photos[2], Image.open(photos[2])])
    scores = exact.predict("a cat").scores
    assert scores[0] == scores[1]


def test_an_image_on_its_side_is_turned(predictor: Predictor, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(io.BytesIO(world.jpeg(1, 120, 90))).save(tmp_path / "turned.jpg", exif=exif)
    predictor.set_image(str(tmp_path / "turned.jpg"))
    assert predictor.images.to_pylist()[0] | {"image_id": ""} == {
        "image_id": "", "width": 90, "height": 120, "orientation": 6, "status": "ok", "error": None,
    }  # fmt: skip
    assert predictor.predict("a cat").original().size == (90, 120)


def test_what_is_no_image_is_named(predictor: Predictor, photos: list[str], tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(world.bomb())
    wrong = [str(tmp_path / "bomb.png"), str(tmp_path / "gone.jpg"), b"", b"<html>", np.zeros((3, 4, 5), np.float32)]
    read = predictor.read([*wrong, photos[0]])
    assert read.table["status"].to_pylist() == ["too_large", "missing", "empty", "undecodable", "undecodable", "ok"]
    assert len(read.pixels) == 1
    with pytest.raises(UserError) as raised:
        predictor.set_images([*wrong, photos[0]])
    assert str(raised.value).startswith("5 of 6 image(s) cannot be read:")
    for part in ("bomb.png: too many pixels", "gone.jpg: not found", "image-2: the file has no bytes", "[3, 4, 5]"):
        assert part in str(raised.value)
    predictor.set_images(read)
    assert predictor.image_ids == [photos[0]]


class Photos(BaseHTTPRequestHandler):
    """One photo, and ways to it that lead to an address nobody typed."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        elsewhere = f"http://127.0.0.2:{self.server.server_address[1]}/photo.jpg"
        self.send_response({"/photo.jpg": 200, "/away.jpg": 302}.get(path, 404))
        if path == "/away.jpg":
            self.send_header("Location", elsewhere)
        body = world.jpeg(1) if path == "/photo.jpg" else b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_urls_are_fetched_where_they_are_typed_and_nowhere_else(
    predictor: Predictor, photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "BACKOFF_S", 0.01)
    with ThreadingHTTPServer(("", 0), Photos) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        names = [f"{url}/photo.jpg?token=secret", f"{url}/gone.jpg", f"{url}/away.jpg"]
        read = predictor.read([*names, photos[1]])
        assert read.table["status"].to_pylist() == ["ok", "missing", "missing", "ok"]
        assert "127.0.0.2" in read.table["error"][2].as_py()
        assert read.table["image_id"][0].as_py() == f"{url}/photo.jpg?token=***"
        predictor.set_images(read)
        found = predictor.predict("a cat")
        assert found.original(0).size == found.original(1).size == (120, 90)
        server.shutdown()
    with pytest.raises(UserError, match=r"token=\*\*\*: "):
        found.overlay(0)


def test_images_are_added_behind_those_that_are_there(predictor: Predictor, photos: list[str]) -> None:
    predictor.set_images(photos[:2])
    one = predictor.nbytes
    predictor.add_images(photos[2:4])
    assert (predictor.image_ids, len(predictor), predictor.nbytes) == (photos[:4], 4, 2 * one)
    with pytest.raises(UserError, match="is there already"):
        predictor.add_images(photos[:1])
    with pytest.raises(UserError, match="is there twice"):
        predictor.set_images([photos[0], photos[0]])
    with pytest.raises(UserError, match="1 for 2 images"):
        predictor.set_images(photos[:2], ids=["a"])
    assert predictor.image_ids == photos[:4]


def test_features_are_bounded(predictor: Predictor, photos: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    predictor.set_images(photos[:2])
    monkeypatch.setattr(predictors, "MOST_BYTES", 2 * predictor.nbytes)
    predictor.add_images(photos[2:4])
    with pytest.raises(UserError, match="set at most 4 at a time"):
        predictor.set_images(photos)
    assert len(predictor) == 4


def test_streams_of_several_threads_agree(predictor: Predictor, photos: list[str]) -> None:
    predictor.set_images(photos)
    expected = {text: predictor.predict(text).to_arrow() for text in ("a cat", "a dog", "a red circle")}
    found: dict[str, pa.Table] = {}
    threads = [
        threading.Thread(target=lambda text=text: found.update({text: predictor.predict(text).to_arrow()}))
        for text in expected
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[text].equals(table) for text, table in expected.items())


def test_an_overlay_shows_what_was_found_and_a_legend(predictor: Predictor, photos: list[str]) -> None:
    predictor.set_images(photos[:1])
    row = predictor.images.to_pylist()[0]
    nothing = predictor.predict("a cat", threshold=0.999).overlay()
    everything = predictor.predict("a cat", threshold=0.001)
    assert nothing.width == row["width"]
    assert nothing.height > row["height"]  # the legend
    plain = np.asarray(everything.original())
    assert np.array_equal(np.asarray(nothing)[: row["height"]], plain)
    assert everything.masks().any()
    assert not np.array_equal(np.asarray(everything.overlay())[: row["height"]], plain)
    assert Image.open(io.BytesIO(everything._repr_png_())).size == everything.overlay().size


def test_faults_of_asking_are_said(predictor: Predictor, photos: list[str], checkpoint_dir: Path) -> None:
    predictor.set_images(photos[:1])
    with pytest.raises(UserError, match="give queries, or a table"):
        predictor.predict()
    with pytest.raises(UserError, match="give a probability between 0 and 1"):
        predictor.predict("a cat", threshold=1.0)
    with pytest.raises(UserError, match=r"image 'no\.jpg' is not among them"):
        predictor.predict("a cat").masks("no.jpg")
    with pytest.raises(UserError, match="call set_images first"):
        Predictor(str(checkpoint_dir), precision="fp32").predict("a cat")
