"""What a run says last, and what keeps a dataset with every chunk from being what was asked for."""

from pathlib import Path

import pytest

from clipseg_ray.report import card, closing
from clipseg_ray.report.facts import gather
from clipseg_ray.results import inputs, runs, shard_records
from clipseg_ray.results.soundness import statuses, unsound
from clipseg_ray.sources.base import Shard
from clipseg_ray.sources.chunks import ChunkRecord, ShardRecord
from clipseg_ray.sources.listing import discover
from clipseg_ray.sources.webdataset import WebDataset
from clipseg_ray.storage import Store
from tests.report import world
from tests.tars import tar_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(world.write(tmp_path, [world.query("dog")], world.scattered(2, 3, ["dog"])))


def put(store: Store, shard: Shard, samples: int = 1, broken: str = "", further: int = 0) -> None:
    inputs.append(store, lambda frozen: [] if shard in frozen else [shard])
    chunks = (ChunkRecord(1, None, "@0", 0),) * bool(samples)
    record = ShardRecord(
        shard_id=shard.shard_id, path=shard.path, samples=samples, chunks=chunks, broken=broken, further=further
    )
    shard_records.put(store, record)


def shard(number: int) -> Shard:
    return Shard(shard_id=f"{number:016x}", path=f"x{number}.tar", size=1, etag="e")


def test_shards_of_which_nothing_could_be_read_are_named_as_long_as_they_are_listed(store: Store) -> None:
    assert unsound(store, ["x1.tar"]) is None
    for number in range(1, 13):
        put(store, shard(number), broken=f"x{number}.tar: no tar")
    said = unsound(store, [f"x{number}.tar" for number in range(1, 13)])
    assert said is not None
    begins = "Every chunk is written, but 12 of 14 shard(s) could not be read at all:\n  x1.tar: no tar\n"
    assert said.startswith(begins)
    assert "\n  … and 2 more\n" in said
    assert unsound(store, ["x3.tar", "x4.tar"]) == (
        "Every chunk is written, but 2 of 14 shard(s) could not be read at all:\n  x3.tar: no tar\n  x4.tar: no tar\n"
        "  Put whole ones beside them under other names, take these away, and run again."
    )
    assert unsound(store, ["other.tar"]) is None


def test_an_input_without_any_image_is_not_complete(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    put(store, shard(1), samples=0)
    put(store, shard(2), samples=0)
    assert unsound(store, []) == "The input holds no image: 2 shard(s) were read to their end, and none has any"


def test_statuses_are_counted_in_the_dataset(store: Store) -> None:
    assert statuses(store) == {"ok": 6}
    assert statuses(Store(store.url + "-none")) == {}


@pytest.mark.parametrize(
    ("found", "loud"),
    [
        ({"ok": 5, "missing": 5}, False),
        ({"ok": 5, "missing": 4, "undecodable": 2}, True),
        ({"empty": 1}, True),
        ({}, False),
    ],
)
def test_most_images_without_masks_are_said_aloud(found: dict[str, int], loud: bool) -> None:
    said = closing.remarks({}, 0, found, "out")
    assert len(said) == loud
    if loud and "ok" in found:
        assert said[0].startswith(
            "WARNING: most images have no masks: 6 of 11 (4 missing, 2 undecodable). Why: clipseg"
        )


def test_a_field_that_never_occurs_is_told_with_those_that_do(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(tar_of({"0.jpg": b"x", "0.json": b'{"caption": "a cup", "uid": 1}'}))
    listing = discover([str(tmp_path)], None)
    said = closing.without_phrases("captoin", WebDataset(listing.root), [Shard.of_object(listing.objects[0])])
    assert said.startswith("WARNING: queries.from: no image has a phrase in its field 'captoin'")
    assert said.endswith("the first image has caption, uid; did you mean caption?")
    assert "no field at all" in closing.without_phrases("x", WebDataset("/nowhere"), [shard(1)])


def test_the_card_says_what_was_passed_over(store: Store) -> None:
    with gather(store) as (found, _):
        assert "passed over" not in card.text(found)
    run = runs.last_record(store)
    runs.write_record(store, run["run_id"], {**run, "passed_over": {".dng": 3, "broken links": 3}})
    put(store, shard(1), further=7)
    assert card.write(store)
    row = next(line for line in store.get("README.md").decode().splitlines() if line.startswith("| passed over"))
    assert row.startswith("| passed over | 7 further images in tars, 3 × .dng, 3 broken links ")
