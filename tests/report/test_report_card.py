"""The dataset card and the numbers in it, on datasets whose every mask is known."""

import io
import re
from pathlib import Path

import datasets
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pycocotools.mask
import pytest
import yaml
from PIL import Image

from clipseg_ray.cli import app
from clipseg_ray.errors import UserError
from clipseg_ray.report import asked, card, contact_sheet, facts, statistics
from clipseg_ray.results import layout, reading, sets
from clipseg_ray.results.source_images import SourceImages
from clipseg_ray.storage import Store
from clipseg_ray.upkeep import verification
from tests.report import world
from tests.report.world import Answer, Picture

HOSTILE = "</script><img src=x onerror=alert(1)>|`*[a](javascript:b)\n# head"


def table_under(text: str, heading: str) -> list[list[str]]:
    """Cells of the Markdown table in a section, without its header."""
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows[2:]]


def test_statistics_are_those_of_the_masks_themselves(tmp_path: Path) -> None:
    names = ["chair", "dog", "cup"]
    shards = world.scattered(2, 40, names)
    store = Store(world.write(tmp_path, [world.query(name) for name in names], shards, chunk_images=16))
    with reading.connect(store) as connection:
        statistics.view_answers(connection, asked.described_queries(store))
        found = statistics.by_query(connection)
    assert found.keys() == set(names)
    for name, numbers in found.items():
        answers = [picture.answers[name] for pictures in shards for picture in pictures]
        scores = np.array([answer.score for answer in answers])
        coverages = np.array([answer.mask.mean() for answer in answers])
        some = coverages[coverages > 0]
        assert (numbers.images, numbers.found) == (80, len(some))
        assert numbers.coverage == pytest.approx(some.mean())
        for share in statistics.SHARES:
            score = np.quantile(scores, share, method="lower")
            assert numbers.score_quantiles[share] == pytest.approx(score, abs=0.001)
            assert numbers.coverage_quantiles[share] == pytest.approx(
                np.quantile(some, share, method="lower"), rel=0.012
            )
        assert list(numbers.score_bins) == np.histogram(scores, 20, (0, 1))[0].tolist()
        decades = np.histogram(np.log10(some), 20, (-4, 0))[0].tolist()
        assert list(numbers.coverage_bins) == decades


def test_the_card_names_model_queries_counts_and_failures(tmp_path: Path) -> None:
    full = np.ones((world.GRID, world.GRID), bool)
    pictures = [
        Picture("a.tar/0", answers={"dog": Answer(full, 0.9), "cup": Answer(world.empty(), 0.2)}),
        Picture("a.tar/1", answers={"dog": Answer(world.empty(), 0.1), "cup": Answer(world.empty(), 0.3)}),
        Picture("a.tar/2", data=b"no picture", status="undecodable", error="damaged picture"),
    ]
    queries = [world.query("dog", "a dog", "animal", 0.4), world.query("cup")]
    store = Store(world.write(tmp_path, queries, [pictures]))
    assert card.write(store)
    text = store.get(layout.CARD).decode()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["size_categories"] == ["n<1K"]
    assert {config["config_name"] for config in head["configs"]} == {"masks", "images", "queries"}
    for said in ("CIDAS/clipseg-rd64-refined, revision `abc123`", "`" + "0" * 64 + "`", "research use", "4 rows, 1 of"):
        assert said in text
    assert table_under(text, "Queries") == [
        ["dog", "animal", "a dog", "0.4", "2", "1 (50%)", "100 % · **100 %** · 100 %", "0.10 · **0.10** · 0.10"],
        ["cup", "object", "a cup", "0.5", "2", "0 (0%)", "–", "0.20 · **0.20** · 0.20"],
    ]
    assert table_under(text, "Images without masks") == [["a.tar/2", "undecodable", "damaged picture"]]
    assert "Incomplete" not in text


def test_a_contact_sheet_shows_queries_that_found_something(tmp_path: Path) -> None:
    names = [f"thing-{i}" for i in range(9)]
    shards = world.scattered(1, 12, names)
    for picture in shards[0]:
        picture.answers["thing-0"] = Answer(world.empty(), 0.1)
    store = Store(world.write(tmp_path, [world.query(name) for name in names], shards))
    assert card.write(store)
    text = store.get(layout.CARD).decode()
    alone = f"![A few images, and over them what 6 of 9 queries found, with scores]({layout.SHEET})"
    assert alone in text.partition("## Made from")[0]
    with facts.gather(store) as (found, connection):
        shown = contact_sheet.some(found, 6)
        assert [query.query_id for query in shown] == [f"thing-{i}" for i in (1, 2, 3, 5, 6, 7)]
        drawn = contact_sheet.drawn(connection, shown, SourceImages(store).fetch, images=4)
    assert drawn is not None
    with Image.open(io.BytesIO(store.get(layout.SHEET))) as sheet:
        assert sheet.format == "WEBP"
        assert sheet.size == drawn.size
        assert sheet.width == 6 + 7 * (contact_sheet.SIDE + 6)
    report = verification.verify(store.url)
    assert report.unrecognised == []


def test_a_mask_on_the_sheet_keeps_the_colours_of_what_it_lies_on() -> None:
    picture = Image.new("RGB", (176, 132), (20, 60, 220))
    laid = np.asarray(contact_sheet._overlaid(picture, world.ellipse(0.5, 0.5, 0.3, 0.3)))
    assert laid[66, 88].tolist() == [20, 60, 220]
    assert len(set(laid[2, 2].tolist())) == 1, "grey outside"


def test_a_card_whose_images_are_out_of_reach_has_no_picture(tmp_path: Path) -> None:
    store = Store(world.write(tmp_path, [world.query("dog")], world.scattered(1, 6, ["dog"])))
    (tmp_path / "in" / "s-000.tar").unlink()
    assert card.write(store)
    assert "![" not in store.get(layout.CARD).decode()
    assert not store.exists(layout.SHEET)


def test_the_card_has_no_path_of_this_machine_and_no_header_without_a_word(tmp_path: Path) -> None:
    bad = Picture("bad", data=b"x", status="missing", error=f"{tmp_path}/in/bad.png: no such file")
    good = Picture("good", answers={"dog": Answer(world.ellipse(0.5, 0.5, 0.2, 0.2), 0.9)})
    store = Store(world.write(tmp_path, [world.query("dog")], [[good, bad]]))
    card.write(store)
    text = store.get(layout.CARD).decode()
    assert str(tmp_path) not in text.replace("\\", "")
    assert "| input | ../in (" in text
    lines = text.splitlines()
    headers = [lines[at - 1] for at, line in enumerate(lines) if line.startswith("| ---")]
    assert len(headers) == 5
    assert all(cell.strip() for header in headers for cell in header.split("|")[1:-1])


def test_a_chunk_without_masks_makes_the_card_say_incomplete(tmp_path: Path) -> None:
    url = world.write(tmp_path, [world.query("dog")], world.scattered(1, 8, ["dog"]))
    store = Store(url)
    name = sets.read(store)[0].name
    part = next(iter(store.list(layout.masks_folder(name)))).path
    store.delete(part)
    card.write(store)
    assert f"**Incomplete:** 1 of 2 chunks lack {name}." in store.get(layout.CARD).decode()


def test_a_chunk_that_killed_its_worker_makes_the_card_say_incomplete(tmp_path: Path) -> None:
    """Its shard was read to its end, but there is neither an images part nor one of masks."""
    store = Store(world.write(tmp_path, [world.query("dog")], world.scattered(2, 8, ["dog"])))
    name = sets.read(store)[0].name
    part = Path(next(iter(store.list(layout.IMAGES))).path).name
    for folder in (layout.IMAGES, layout.masks_folder(name)):
        store.delete(f"{folder}/{part}")
    assert card.write(store)
    said = f"**Incomplete:** 1 of 4 chunks lack {layout.IMAGES}; 1 of 4 chunks lack {name}."
    assert said in store.get(layout.CARD).decode()


def test_nothing_in_an_id_or_a_text_becomes_markdown_or_html(tmp_path: Path) -> None:
    failed = Picture(HOSTILE, data=b"x", status="undecodable", error=HOSTILE)
    good = Picture("good", answers={HOSTILE: Answer(world.empty(), 0.1)})
    store = Store(world.write(tmp_path, [world.query(HOSTILE, HOSTILE, HOSTILE)], [[good, failed]]))
    card.write(store)
    text = store.get(layout.CARD).decode()
    body = text.split("---\n", 2)[2]
    assert "<img" not in body
    assert "<script" not in body
    assert "\n# head" not in body
    (row,) = table_under(text, "Queries")
    assert row[0] == row[2] == card.plain(HOSTILE)
    (failure,) = table_under(text, "Images without masks")
    assert len(failure) == 3
    yaml.safe_load(text.split("---\n")[1])


def test_a_card_somebody_edited_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(world.write(tmp_path, [world.query("dog")], world.scattered(1, 2, ["dog"])))
    monkeypatch.setattr("sys.argv", ["clipseg-ray", "card", store.url])
    app(standalone_mode=False)
    assert f"wrote {store.url}/README.md" in capsys.readouterr().out
    store.put(layout.CARD, b"# My masks")
    app(standalone_mode=False)
    assert "left as it is" in capsys.readouterr().out
    assert store.get(layout.CARD) == b"# My masks"


def test_a_card_that_cannot_be_written_does_not_fail_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bool:
        raise OSError("the disk is full")

    monkeypatch.setattr(card, "write", full)
    card.write_or_warn(Store(str(tmp_path)))
    assert "warning: the dataset card was not written (the disk is full); clipseg-ray card" in capsys.readouterr().out


def test_the_loading_examples_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(world.write(tmp_path, [world.query("dog")], world.scattered(1, 6, ["dog"])))
    card.write(store)
    text = store.get(layout.CARD).decode()
    monkeypatch.chdir(store.url)
    sql = text.partition("```sql\n")[2].partition("```")[0]
    ((name, found_in, _),) = duckdb.sql(sql).fetchall()
    assert name == "dog"
    assert 0 < found_in < 6
    lines = text.partition("```python\n")[2].partition("```")[0].splitlines()
    assert eval(lines[0], {"pl": pl}).collect().height == 6
    frame = eval(lines[1], {"pd": pd})
    assert len(frame) == 6
    (row,) = frame[frame.score == frame.score.max()].to_dict("records")
    assert eval(lines[4], {"pycocotools": pycocotools, "row": row}).sum() == row["area"]


def test_the_hub_s_loader_finds_the_tables_through_the_card(tmp_path: Path) -> None:
    store = Store(world.write(tmp_path, [world.query("dog")], world.scattered(1, 6, ["dog"])))
    card.write(store)
    masks = datasets.load_dataset(store.url, "masks", split="train", cache_dir=str(tmp_path / "cache"))
    assert masks.num_rows == 6
    assert "counts" in masks.features
    images = datasets.load_dataset(store.url, "images", split="train", cache_dir=str(tmp_path / "cache"))
    assert set(images["image_id"]) == set(masks["image_id"])


def test_an_empty_dataset_is_refused_and_no_dataset_too(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no dataset here"):
        card.write(Store(str(tmp_path / "nothing")))
    url = world.write(tmp_path, [world.query("dog")], [])
    with pytest.raises(UserError, match="nothing has been written yet"), facts.gather(Store(url)):
        pass


def test_numbers_of_very_many_chunks_are_a_samples_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = world.write(tmp_path, [world.query("dog")], world.scattered(3, 6, ["dog"]), chunk_images=2)
    monkeypatch.setattr(facts, "MANY_CHUNKS", 8)
    monkeypatch.setattr(facts, "SAMPLED_CHUNKS", 4)
    with facts.gather(Store(output)) as (found, _):
        assert (found.images, found.masks, found.chunks, found.sampled) == (8, 8, 9, 4)
        assert "**Numbers are of a sample: 4 of 9 chunks.**" in card.text(found)
    monkeypatch.setattr(facts, "MANY_CHUNKS", 9)
    with facts.gather(Store(output)) as (found, _):
        assert (found.images, found.sampled, found.note) == (18, None, "")


def test_a_card_that_came_after_that_of_a_faster_driver_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = world.write(tmp_path, [world.query("dog")], world.scattered(2, 4, ["dog"]), chunk_images=2)
    store = Store(output)
    last = sorted(entry.path for entry in store.list("masks"))[-1]
    body = store.get(last)
    store.delete(last)
    text = card.text

    def finished_meanwhile(found: facts.Facts, *shown: object) -> str:
        store.put(last, body)
        return text(found)

    monkeypatch.setattr(card, "text", finished_meanwhile)
    assert card.write(store)
    assert "Incomplete" not in store.get(layout.CARD).decode()
