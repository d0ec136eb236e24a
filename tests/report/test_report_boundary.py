"""A dataset somebody sends: its pictures are fetched inside its boundary, whatever it says of where they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import clipseg_ray
from clipseg_ray.errors import Refused, UserError
from clipseg_ray.queries.supports import make_support
from clipseg_ray.report import gallery
from clipseg_ray.report.export import Form, Images
from clipseg_ray.report.export.command import export
from clipseg_ray.results import parts
from clipseg_ray.storage import Store
from tests.report.world import Answer, Picture, ellipse, query, write

SECRET = b"root:secret-of-this-machine:0:0\n"


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    """A folder with a dataset somebody sent, ``sent/out``, beside files that are none of its business."""
    (tmp_path / "sent").mkdir()
    (tmp_path / "secret").write_bytes(SECRET)
    picture = Image.new("RGB", (64, 40), (90, 10, 200))
    picture.save(tmp_path / "private.png")
    support = make_support(str(tmp_path / "private.png"), (tmp_path / "private.png").read_bytes(), None, None)
    answers = {"dog": Answer(ellipse(0.5, 0.5, 0.3, 0.3), 0.9)}
    pictures = [Picture(f"s-000.tar/{i:04d}", answers=answers) for i in range(3)]
    write(tmp_path / "sent", [replace(query("dog"), supports=(support,))], [pictures])
    return tmp_path / "sent"


def say(dataset: Path, source_url: str, length: int, offset: int = 0) -> str:
    """Let the dataset say that its pictures are there."""
    output = Store(str(dataset / "out"))
    for entry in list(output.list("images")):
        table = pq.read_table(pa.BufferReader(output.get(entry.path)))
        for name, value in {"source_url": source_url, "offset": offset, "length": length}.items():
            index = table.schema.get_field_index(name)
            column = pa.array([value] * len(table), table.schema.field(name).type)
            table = table.set_column(index, table.schema.field(name), column)
        output.put(entry.path, parts.images_bytes(table, {}))
    return output.url


def written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


COPYING = [Form.COCO, Form.YOLO, Form.SA_1B, Form.LABEL_STUDIO]


@pytest.mark.parametrize("form", [Form.HUGGINGFACE, Form.OVERLAYS, Form.WEBDATASET, *COPYING])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_exports_embed_no_file_of_this_machine(sent: Path, tmp_path: Path, form: Form, scheme: str) -> None:
    url = say(sent, f"{scheme}{tmp_path}/secret", len(SECRET))
    with pytest.raises(UserError, match=r"secret: not fetched.*--allow-source"):
        export(url, str(tmp_path / "dest"), form, None, images=Images.COPY if form in COPYING else None)
    assert b"secret-of-this-machine" not in written(tmp_path / "dest")


@pytest.mark.parametrize("path", ["sent/secret.jpg", "sent/link/secret.jpg"])
def test_what_is_no_picture_is_embedded_nowhere(sent: Path, tmp_path: Path, path: str) -> None:
    (sent / "secret.jpg").write_bytes(SECRET)
    (sent / "link").symlink_to(sent)
    url = say(sent, str(tmp_path / path), len(SECRET))
    with pytest.raises(UserError, match="it is text"):
        export(url, str(tmp_path / "dest"), Form.HUGGINGFACE, None)
    assert b"secret-of-this-machine" not in written(tmp_path / "dest")


def test_every_reader_stays_inside_and_says_what_would_allow_it(sent: Path, tmp_path: Path) -> None:
    private = (tmp_path / "private.png").read_bytes()
    url = say(sent, str(tmp_path / "private.png"), len(private))
    with clipseg_ray.open(url) as masks:
        found = list(masks.source_images(masks.sql("SELECT * FROM images").to_arrow_table()))
        assert all(isinstance(each, Refused) for each in found)
        with pytest.raises(UserError, match="--allow-source"):
            masks.torch(["dog"], size=32)[0]
    with clipseg_ray.open(url, allow_source=str(tmp_path / "private.png")) as masks:
        found = list(masks.source_images(masks.sql("SELECT * FROM images").to_arrow_table()))
        assert found == [private] * 3
        assert masks.torch(["dog"], size=32)[0]["image"][:, 0, 0].tolist() == [90, 10, 200]


def webps(page: str) -> int:
    return Path(page).read_text().count("data:image/webp;base64,")


def test_the_gallery_shows_neither_pictures_nor_support_pictures_of_elsewhere(sent: Path, tmp_path: Path) -> None:
    url = str(sent / "out")
    inside = webps(gallery.write(url, str(tmp_path / "inside.html")))
    allowed = webps(gallery.write(url, str(tmp_path / "allowed.html"), allow_source=[str(tmp_path)]))
    assert allowed == inside + 1  # the support picture, which lies above the dataset's folder
    say(sent, str(tmp_path / "private.png"), (tmp_path / "private.png").stat().st_size)
    assert webps(gallery.write(url, str(tmp_path / "outside.html"))) == 0


def test_a_link_in_the_folder_leads_nowhere(sent: Path, tmp_path: Path) -> None:
    (sent / "in/near.png").symlink_to(tmp_path / "private.png")
    url = say(sent, str(sent / "in/near.png"), (tmp_path / "private.png").stat().st_size)
    with pytest.raises(UserError, match=r"near\.png: not fetched"):
        export(url, str(tmp_path / "dest"), Form.HUGGINGFACE, None)


def test_a_remote_dataset_names_no_local_file(sent: Path, tmp_path: Path) -> None:
    import fsspec

    fsspec.filesystem("memory").store.clear()
    url = say(sent, str(tmp_path / "private.png"), (tmp_path / "private.png").stat().st_size)
    for entry in Store(url).list():
        Store("memory://sent/out").put(entry.path, Store(url).get(entry.path))
    with pytest.raises(UserError, match=r"private\.png: not fetched, it is outside memory://sent"):
        export("memory://sent/out", str(tmp_path / "dest"), Form.HUGGINGFACE, None)
