"""A first configuration: what it says of an input, and that ``plan`` takes it as it is."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from clipseg_ray import config
from clipseg_ray.drafting import draft, fields
from clipseg_ray.errors import UserError
from clipseg_ray.pipeline import plan
from clipseg_ray.storage import Store
from tests.pipeline import world
from tests.tars import tar_of


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, for the files that are written."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def png(width: int = 30, height: int = 20) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (width, height)).save(sink, "PNG")
    return sink.getvalue()


def planned(file: str) -> plan.Plan:
    return plan.look(config.load(file))


def photos(folder: Path) -> Path:
    store = Store(str(folder))
    for number in range(12):
        store.put(f"{number % 3}/{number:03d}.jpg", world.jpeg(number, 60 + number, 40))
    store.put("list.csv", b"image,caption\n0/000.jpg,a dog\n")
    return folder


def test_a_folder_of_photographs(tmp_path: Path) -> None:
    photos(tmp_path / "my photos")
    file, seen = draft.write(str(tmp_path / "my photos"), None)
    assert file == "my-photos.yaml"
    assert seen.startswith("12 images, ")
    text = Path(file).read_text()
    assert "# 8 looked at: 60×40 to 7" in text
    assert "pixels, JPEG." in text
    assert "Beside them, not read: 1 × .csv." in text
    assert "id_field" not in text
    found = planned(file)
    assert (found.listing.format, found.shards[0].images) == ("images", 12)
    assert found.config.model.checkpoint == "CIDAS/clipseg-rd64-refined"
    assert found.config.output.url == str(Path.cwd() / "my-photos-masks")
    assert found.warnings == ()


def test_tars_with_captions(tmp_path: Path) -> None:
    files: dict[str, bytes] = {}
    for number in range(9):
        row = {"uid": f"u{number}", "caption": f"dog number {number}", "width": 3, "url": "http://example.org/a b"}
        files |= {f"{number}.jpg": world.jpeg(number), f"{number}.json": json.dumps(row).encode()}
    Store.of(str(tmp_path / "in")).put("a.tar", tar_of(files))
    Store.of(str(tmp_path / "in")).put("b.tar", tar_of(files))
    file, seen = draft.write(f"{tmp_path}/in/*.tar", None)
    assert seen.startswith("2 webdataset file(s), ")
    text = Path(file).read_text()
    assert '# id_field: "uid"   # ids of the images, e.g. u0' in text
    assert '# from: "caption"   # ask each image its own, beside the table or instead: dog number 0' in text
    assert text.count("# from:") == 1
    assert len(planned(file).shards) == 2
    uncommented = text.replace("# from:", "from:").replace("# id_field:", "id_field:")
    Path("all.yaml").write_text(uncommented)
    assert planned("all.yaml").phrases.field == "caption"


def test_a_parquet_file_whose_images_have_a_name_of_their_own(tmp_path: Path) -> None:
    table = pa.table({"picture": [png(), png(50, 60)], "sentences": [["a dog", "it"], ["cat"]]})
    pq.write_table(table, tmp_path / "a.parquet")
    file, seen = draft.write(str(tmp_path / "a.parquet"), None)
    assert "2 images (parquet)" in seen
    assert '# from: "sentences"' in Path(file).read_text()
    assert planned(file).source.image_field == "picture"


@pytest.mark.parametrize("name", ["list.csv", "list.parquet"])
def test_a_manifest(tmp_path: Path, name: str) -> None:
    photos(tmp_path / "in")
    table = pa.table({"url": ["0/000.jpg", "1/001.jpg"], "caption": ["a dog", "a cat"], "key": ["k1", "k2"]})
    (tmp_path / "in/list.csv").write_text("url,caption,key\n0/000.jpg,a dog,k1\n1/001.jpg,a cat,k2\n")
    pq.write_table(table, tmp_path / "in/list.parquet")
    file, seen = draft.write(f"{tmp_path}/in/{name}", None)
    assert seen == "2 images (manifest)"
    text = Path(file).read_text()
    assert '# from: "caption"' in text
    assert '# id_field: "key"' in text
    assert planned(file).shards[0].images == 2


def test_scenes_of_the_demo_get_the_model_that_knows_them(tmp_path: Path) -> None:
    Store.of(str(tmp_path / "scenes")).put("scenes-00000.tar", tar_of({"0.jpg": world.jpeg(0)}))
    file, _ = draft.write(str(tmp_path / "scenes"), None)
    found = planned(file)
    assert found.config.model.checkpoint == "builtin:scenes"
    assert found.warnings == ()


@pytest.mark.parametrize("name", ["#1 {a,b} [x]", "it's: yes", "é 猫", '"quoted"', "on", "-"])
def test_names_that_mean_something_in_yaml_or_globs(tmp_path: Path, name: str, here: Path) -> None:
    photos(here / name)
    file, _ = draft.write(name, "draft.yaml")
    assert yaml.safe_load(Path(file).read_text())["input"]["url"] == name
    assert planned(file).shards[0].images == 12


def test_a_file_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    photos(tmp_path / "photos")
    Path("photos.yaml").write_text("mine")
    with pytest.raises(UserError, match=r"photos\.yaml: is there already, and is left as it is; .* -o"):
        draft.write(str(tmp_path / "photos"), None)
    assert Path("photos.yaml").read_text() == "mine"
    assert draft.write(str(tmp_path / "photos"), "other.yaml")[0] == "other.yaml"


def test_the_output_is_new_and_never_inside_the_input(
    tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos(tmp_path / "photos")
    monkeypatch.chdir(folder)
    file, _ = draft.write(".", None)
    assert config.load(file).output.url == f"{tmp_path}/photos-masks"
    Store(f"{tmp_path}/photos-masks").put("README.md", b"another's")
    Path(file).unlink()
    file, _ = draft.write(".", None)
    assert planned(file).config.output.url == f"{tmp_path}/photos-masks-2"
    file, _ = draft.write("0/*.jpg", "0.yaml")
    assert planned(file).config.output.url == f"{folder}/0-masks"


def test_images_that_cannot_be_opened_are_said_to_be(tmp_path: Path) -> None:
    Store(str(tmp_path / "in")).put("a.jpg", b"<html>no</html>")
    file, _ = draft.write(str(tmp_path / "in"), None)
    assert "no image could be opened: a.jpg: " in Path(file).read_text()
    assert planned(file).shards[0].images == 1


def test_what_is_no_input_is_refused_and_nothing_is_written(tmp_path: Path, here: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.md").write_text("no image")
    with pytest.raises(UserError, match=r"no name there has the ending of a format .*; found 1 × \.md"):
        draft.write(str(tmp_path / "texts"), None)
    with pytest.raises(UserError, match="nothing is there by that name"):
        draft.write(str(tmp_path / "nowhere"), None)
    with pytest.raises(UserError, match="holds credentials"):
        draft.write("https://me:secret@example.org/photos/", None)
    assert list(here.iterdir()) == []


def test_a_large_folder_is_known_by_its_first_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clipseg_ray.drafting import first_look

    photos(tmp_path / "photos")
    monkeypatch.setattr(first_look, "FIRST_PAGE", 5)
    file, seen = draft.write(str(tmp_path / "photos"), None)
    assert seen.startswith("at least ")
    assert planned(file).shards[0].images == 12


def test_images_in_a_bucket_are_masked_beside_it(bucket: str) -> None:
    Store.of(f"{bucket}/in/photos").put("a.jpg", world.jpeg(1))
    file, _ = draft.write(f"{bucket}/in/photos", None)
    found = planned(file)
    assert found.config.input.url == [f"{bucket}/in/photos"]
    assert found.config.output.url == f"{bucket}/in/photos-masks"
    file, _ = draft.write(bucket, "whole.yaml")
    assert planned(file).config.output.url == str(Path.cwd() / f"{bucket[5:]}-masks")
    file, _ = draft.write(f"{bucket}/in/photos", f"{bucket}/photos.yaml")
    assert planned(file).config.output.url == f"{bucket}/in/photos-masks"


@pytest.mark.parametrize(
    ("rows", "phrases", "ids"),
    [
        ([{"txt": "a dog", "cap_url": "http://x/y z"}] * 2, ["txt"], []),
        ([{"note": "a big dog", "code": "a1"}] * 2, ["note"], []),
        ([{"caption": 3}, {"caption": "dog"}], ["caption"], []),
        ([{"caption": 3}, {"caption": None}], [], []),
        ([{"id": 1}, {"id": 2}], [], ["id"]),
        ([{"id": 1}, {"id": 1}], [], []),
        ([{"id": True}, {"id": False}], [], []),
        ([{"id": 1}, {}], [], []),
        ([], [], []),
    ],
)
def test_fields_are_told_by_their_names_and_examples(rows: list[dict], phrases: list[str], ids: list[str]) -> None:
    assert [name for name, _ in fields.phrases(rows)] == phrases
    assert [name for name, _ in fields.ids(rows)] == ids
