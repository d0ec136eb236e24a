"""Which masks the gallery shows, and that the page keeps to its weight."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pycocotools.mask
import pytest
from PIL import Image

from clipseg_ray.cli import app
from clipseg_ray.errors import UserError
from clipseg_ray.queries.phrase_set import PhraseSet
from clipseg_ray.report import facts, gallery, samples, thumbnails
from clipseg_ray.storage import Store
from tests.report import world
from tests.report.world import Answer, Picture


def data_of(path: str) -> dict:
    """What the page is given to show."""
    text = Path(path).read_text()
    return json.loads(text.partition('id="data">')[2].partition("</script>")[0])


def photo(seed: int, width: int = 600, height: int = 450) -> bytes:
    """A JPEG of about as much detail as a photograph."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (height // 30, width // 30, 3), np.uint8))
    sink = io.BytesIO()
    small.resize((width, height), Image.Resampling.BICUBIC).save(sink, "JPEG", quality=90)
    return sink.getvalue()


def test_each_group_holds_what_it_says(tmp_path: Path) -> None:
    shards = world.scattered(2, 100, ["chair", "dog"])
    store = Store(world.write(tmp_path, [world.query("chair"), world.query("dog")], shards, chunk_images=32))
    with facts.gather(store) as (found, connection):
        chosen = samples.picks(connection, found.queries)
    for name in ("chair", "dog"):
        best, borderline, smallest = ([(pick.image_id, pick.query_id) for pick in group] for group in chosen[name])
        answers = {picture.image_id: picture.answers[name] for pictures in shards for picture in pictures}
        by_score = sorted(answers, key=lambda each: answers[each].score, reverse=True)
        assert best == [(image_id, name) for image_id in by_score[:8]]
        near = [each for each in answers if abs(answers[each].score - 0.5) < samples.BORDER]
        near = [
            each for each in sorted(near, key=lambda each: abs(answers[each].score - 0.5)) if each not in by_score[:8]
        ]
        assert borderline == [(image_id, name) for image_id in near[:8]]
        taken = {image_id for image_id, _ in best + borderline}
        rest = [answers[image_id].mask.sum() for image_id in answers if image_id not in taken]
        assert [answers[image_id].mask.sum() for image_id, _ in smallest] == sorted(area for area in rest if area)[:8]


def test_phrases_of_the_images_are_shown_under_one_heading(tmp_path: Path) -> None:
    answer = Answer(world.ellipse(0.5, 0.5, 0.2, 0.2), 0.8)
    pictures = [Picture(f"p{i}", phrases={f"phrase {i}": answer}, answers={"dog": answer}) for i in range(20)]
    url = world.write(tmp_path, [world.query("dog")], [pictures], phrases=PhraseSet("caption", ("{}",), 0.5))
    page = data_of(gallery.write(url, str(tmp_path / "page.html")))
    assert [query["id"] for query in page["queries"]] == ["dog", "from:caption"]
    groups = page["queries"][1]["groups"].values()
    shown = [page["samples"][at]["phrase"] for group in groups for at in group]
    assert len(shown) == 16
    assert all(re.fullmatch(r"phrase \d+", phrase) for phrase in shown)


def test_masks_at_image_size_are_drawn_on_a_smaller_grid(tmp_path: Path) -> None:
    mask = np.zeros((900, 1200), bool)
    mask[300:600, 300:900] = True
    picture = Picture("p", 1200, 900, answers={"dog": Answer(mask, 0.9)})
    url = world.write(tmp_path, [world.query("dog")], [[picture]])
    page = data_of(gallery.write(url, str(tmp_path / "page.html")))
    (sample,) = page["samples"]
    assert page["queries"][0]["groups"]["best"] == [0]
    assert (sample["size"], sample["grid"], sample["area"]) == ([264, 352], [900, 1200], 180_000)
    drawn = pycocotools.mask.decode({"size": sample["size"], "counts": sample["counts"]})
    assert drawn.mean() == pytest.approx(mask.mean(), abs=0.01)


def test_a_page_keeps_to_its_weight(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    answer = Answer(world.ellipse(0.5, 0.5, 0.2, 0.2), 0.8)
    pictures = [Picture(f"p{i}", 600, 450, data=photo(i), answers={f"q{i % 5}": answer}) for i in range(40)]
    url = world.write(tmp_path, [world.query(f"q{i}") for i in range(5)], [pictures], chunk_images=32)
    page = tmp_path / "page.html"
    monkeypatch.setattr("sys.argv", ["clipseg-ray", "gallery", url, "-o", str(page), "--max-mb", "0.2"])
    app(standalone_mode=False)
    assert capsys.readouterr().out == f"wrote {page}\n"
    assert 120_000 < page.stat().st_size <= 200_000
    shown = data_of(str(page))
    assert all(picture["src"].startswith("data:image/webp;base64,") for picture in shown["pictures"])
    assert all(query["groups"]["best"] for query in shown["queries"])
    assert all(len(query["groups"]["best"]) < 8 for query in shown["queries"])


def test_of_some_images_all_masks_are_shown_and_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "WHOLE_IMAGES", 5)
    monkeypatch.setattr(samples, "PER_GROUP", 2)
    names = ["chair", "dog", "cup"]
    shards = world.scattered(1, 30, names)
    url = world.write(tmp_path, [world.query(name) for name in names], shards)
    page = data_of(gallery.write(url, str(tmp_path / "page.html")))
    keys = [(page["pictures"][each["picture"]]["id"], page["queries"][each["query"]]["id"]) for each in page["samples"]]
    assert len(keys) == len(set(keys))
    whole = [page["pictures"][at]["id"] for at in page["byImage"]]
    assert len(whole) == 5
    assert whole == sorted(whole)
    for picture in shards[0]:
        if picture.image_id in whole:
            there = {name for name, answer in picture.answers.items() if answer.mask.any()}
            assert there <= {name for image_id, name in keys if image_id == picture.image_id}


def test_maps_of_probabilities_are_on_the_page_as_they_are(tmp_path: Path) -> None:
    heat = np.random.default_rng(0).integers(0, 256, (9, 9), np.uint8)
    answers = {"dog": Answer(world.ellipse(0.5, 0.5, 0.2, 0.2), 0.9, heat=heat), "cup": Answer(world.empty(), 0.45)}
    queries = [world.query("dog"), world.query("cup")]
    url = world.write(tmp_path, queries, [[Picture("p", answers=answers)]], heat=9)
    page = data_of(gallery.write(url, str(tmp_path / "page.html")))
    maps = {page["queries"][sample["query"]]["id"]: sample["heat"] for sample in page["samples"]}
    assert maps["cup"] is None
    shown = Image.open(io.BytesIO(base64.b64decode(maps["dog"].partition(",")[2])))
    np.testing.assert_array_equal(np.asarray(shown), heat)


def test_no_path_of_this_machine_is_on_the_page(tmp_path: Path) -> None:
    bad = Picture("bad", data=b"x", status="missing", error=f"{tmp_path}/in/bad.png: no such file")
    good = Picture("good", answers={"dog": Answer(world.ellipse(0.5, 0.5, 0.2, 0.2), 0.9)})
    url = world.write(tmp_path, [world.query("dog")], [[good, bad]])
    html = Path(gallery.write(url, str(tmp_path / "page.html"))).read_text()
    assert str(tmp_path) not in html
    page = json.loads(html.partition('id="data">')[2].partition("</script>")[0])
    assert page["pictures"][0]["place"].startswith("../in/s-000.tar, bytes ")
    assert ["input", "../in"] in page["about"]
    assert page["failures"]["rows"] == [["bad", "missing", "in/bad.png: no such file"]]


def test_thumbnails_are_as_large_as_fits_and_upright() -> None:
    pictures: list[bytes | Exception] = [photo(i) for i in range(6)]
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(io.BytesIO(photo(9))).save(turned, "JPEG", exif=exif)
    pictures += [turned.getvalue(), FileNotFoundError("gone"), b"no picture"]
    sizes = []
    for room in (2_000_000, 50_000, 12_000):
        made = thumbnails.fitting(iter(pictures), room)
        assert sum(len(each.webp) for each in made if each) <= room
        assert made[7:] == [None, None]
        first = made[0]
        assert first is not None
        assert (first.width, first.height) == (600, 450)
        sizes.append(Image.open(io.BytesIO(first.webp)).width)
        if made[6] is not None:
            assert (made[6].width, made[6].height) == (450, 600)
            with Image.open(io.BytesIO(made[6].webp)) as image:
                assert image.height > image.width
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == thumbnails.SIDES[0] > sizes[1]
    assert thumbnails.fitting([], 1000) == []
    assert thumbnails.fitting(pictures[:1], 10) == [None]


def test_pictures_that_are_gone_leave_the_masks_on_the_page(tmp_path: Path) -> None:
    url = world.write(tmp_path, [world.query("dog")], world.scattered(1, 6, ["dog"]))
    (tmp_path / "in" / "s-000.tar").unlink()
    shown = data_of(gallery.write(url, str(tmp_path / "page.html")))
    assert [picture["src"] for picture in shown["pictures"]] == [None] * len(shown["pictures"])
    assert any(shown["queries"][0]["groups"].values())


def test_a_gallery_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no dataset here"):
        gallery.write(str(tmp_path), str(tmp_path / "page.html"))
