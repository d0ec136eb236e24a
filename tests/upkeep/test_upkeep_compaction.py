"""A compacted dataset has the rows of its parts, whatever was killed, added or changed on the way."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import clipseg_ray
from clipseg_ray.errors import UserError
from clipseg_ray.report import card, gallery
from clipseg_ray.report.export import command
from clipseg_ray.report.export.command import Form
from clipseg_ray.results import canned_questions, compact_groups, layout, sets
from clipseg_ray.storage import Entry, Store
from clipseg_ray.upkeep import compaction, verification
from clipseg_ray.upkeep.compaction import Compactor, prepare
from tests.pipeline import world as runs
from tests.report import world

QUERIES = ["dog", "cat"]
SHARDS = world.scattered(2, 9, [*QUERIES, "cow"])


def compact(output: str, destination: str) -> list[str]:
    """The whole of it without Ray; the files that were written."""
    job = prepare(output, destination)
    return [Compactor(job.spec)(group).path for group in job.todo]


def tables(url: str) -> tuple[list[dict], list[dict]]:
    return runs.images(url).to_pylist(), runs.masks(url).to_pylist()


def some_parts(output: str) -> dict[str, bytes]:
    """All parts of the chunks 1, to be taken away and put back."""
    store = Store.of(output)
    return {
        entry.path: store.get(entry.path)
        for entry in store.list()
        if entry.path.endswith("-000001.parquet") and not entry.path.startswith("_")
    }


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some rows, so that a few parts make several."""
    monkeypatch.setattr(compaction, "LEAST_ROWS", 10)
    monkeypatch.setattr(compaction, "FILE_ROWS", 20)
    monkeypatch.setattr(compaction, "GROUP_ROWS", 8)


@pytest.fixture
def output(tmp_path: Path) -> str:
    """Two shards of nine images in chunks of three, two queries: six parts of six masks."""
    return world.write(tmp_path, [world.query(name) for name in QUERIES], SHARDS, chunk_images=3)


def test_files_have_the_rows_of_their_parts_in_order(output: str, tmp_path: Path) -> None:
    dest = str(tmp_path / "dest")
    written = compact(output, dest)
    assert tables(dest) == tables(output)
    masks = [Path(dest, path) for path in written if path.startswith("masks/")]
    assert 1 < len(masks) < 6
    for path in masks:
        file = pq.ParquetFile(path)
        rows = file.read().to_pylist()
        assert [(row["query_id"], row["image_id"]) for row in rows] == sorted(
            (row["query_id"], row["image_id"]) for row in rows
        )
        group = file.metadata.row_group(0)
        assert 4 <= group.num_rows <= 8
        columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
        assert "RLE_DICTIONARY" in columns["image_id"].encodings
        assert "RLE_DICTIONARY" not in columns["counts"].encodings
        assert columns["image_id"].compression == "ZSTD"
        assert columns["image_id"].has_column_index
    assert compact(output, dest) == []


def test_every_reader_reads_it(output: str, tmp_path: Path) -> None:
    dest = str(tmp_path / "dest")
    compact(output, dest)
    report = verification.verify(dest)
    assert report.sound, report.text()
    assert (report.images, report.masks) == (18, 36)
    with clipseg_ray.open(output) as masks, clipseg_ray.open(dest) as compacted:
        assert (
            compacted.sql(canned_questions.coverage(9)).fetchall() == masks.sql(canned_questions.coverage(9)).fetchall()
        )
    for url, name in ((output, "a.json"), (dest, "b.json")):
        command.export(url, str(tmp_path / name), Form("coco"), None)
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert first["images"] == second["images"]
    assert first["annotations"] == second["annotations"]
    assert card.write(Store.of(dest))
    assert "Incomplete" not in Store.of(dest).get("README.md").decode()
    gallery.write(dest, str(tmp_path / "gallery.html"))
    with pytest.raises(UserError, match="is compacted"):
        clipseg_ray.rethreshold(dest, str(tmp_path / "other"), 0.7)


def test_new_parts_and_queries_are_added_and_nothing_else_is_done(output: str, tmp_path: Path) -> None:
    dest, store = str(tmp_path / "dest"), Store.of(output)
    later = some_parts(output)
    for path in later:
        store.delete(path)
    first = compact(output, dest)
    for path, body in later.items():
        store.put(path, body)
    second = compact(output, dest)
    assert second
    assert not set(first) & set(second)
    assert tables(dest) == tables(output)
    world.add_queries(output, [world.query("cow")], SHARDS, 3)
    assert all("masks/" in path for path in compact(output, dest))
    assert tables(dest) == tables(output)
    assert verification.verify(dest).sound


def test_a_changed_part_takes_only_its_own_file_along(output: str, tmp_path: Path) -> None:
    dest, store = str(tmp_path / "dest"), Store.of(output)
    compact(output, dest)
    before = runs.digests(dest, "masks")
    path = sorted(runs.digests(output, "masks"))[0]
    table = pq.read_table(Path(output, path), partitioning=None)
    from clipseg_ray.results import parts, schema

    facts = {**schema.facts_of(table.schema), "a": 1}
    store.put(path, parts.masks_bytes(table.set_column(3, table.schema.field(3), table["score"].slice(0)), facts))
    compact(output, dest)
    after = runs.digests(dest, "masks")
    assert len(before.keys() - after.keys()) == 1
    assert tables(dest) == tables(output)
    assert verification.verify(dest).sound


def test_a_killed_compaction_goes_on(output: str, tmp_path: Path) -> None:
    dest = str(tmp_path / "dest")
    job = prepare(output, dest)
    done = Compactor(job.spec)(job.todo[0]).path
    Store.of(dest).put("images/compact-0123456789abcdef.parquet", b"of a group that does not count")
    rest = compact(output, dest)
    assert len(rest) == len(job.todo) - 1
    assert done not in rest
    assert tables(dest) == tables(output)
    assert verification.verify(dest).sound


def test_what_the_dataset_lacks_is_said_and_found(output: str, tmp_path: Path) -> None:
    """Chunks that killed their worker have no part at all; that their shard was read is the only sign of them."""
    dest, store = str(tmp_path / "dest"), Store.of(output)
    later = some_parts(output)
    for path in later:
        store.delete(path)
    name = sets.read(store)[0].name
    assert prepare(output, dest).lacks == ("2 of 6 chunks lack images", f"2 of 6 chunks lack {name}")
    compact(output, dest)
    report = verification.verify(dest)
    assert not report.sound
    assert [(item.chunk, item.folders) for item in report.missing] == [(1, ("images", layout.masks_folder(name)))] * 2
    assert "2 missing, which a run into the dataset this was compacted from computes" in report.text()
    for path, body in later.items():
        store.put(path, body)
    assert prepare(output, dest).lacks == ()
    compact(output, dest)
    assert verification.verify(dest).sound


def test_masks_never_come_without_their_images_from_a_run_that_goes_on(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts arrive as a run puts them, images first, after the first folder has been listed."""
    store, waiting = Store.of(output), some_parts(output)
    for path in waiting:
        store.delete(path)
    listing = Store.list_hashed

    def then_more_arrives(self: Store, prefix: str) -> Iterator[Entry]:
        found = list(listing(self, prefix))
        while waiting and prefix.startswith(("images", "masks")):
            path = min(waiting)
            self.put(path, waiting.pop(path))
        return iter(found)

    monkeypatch.setattr(Store, "list_hashed", then_more_arrives)
    job = prepare(output, str(tmp_path / "dest"))
    assert not waiting
    of = {kind: {p.place for g in job.todo if g.folder.startswith(kind) for p in g.parts} for kind in ("im", "ma")}
    assert of["ma"] <= of["im"]


def test_files_made_while_it_is_verified_are_no_orphans(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dest, store = str(tmp_path / "dest"), Store.of(output)
    later = some_parts(output)
    for path in later:
        store.delete(path)
    compact(output, dest)
    for path, body in later.items():
        store.put(path, body)
    read, once = compact_groups.read, [True]

    def then_compact(target: Store) -> tuple[list[compact_groups.Group], int]:
        found = read(target)
        if once and once.pop():
            assert compact(output, dest)
        return found

    monkeypatch.setattr(compact_groups, "read", then_compact)
    assert verification.verify(dest).orphans == []
    assert not once


def test_two_at_once_make_the_same_files(output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dest = str(tmp_path / "dest")
    read, answers = compact_groups.read, [([], 0)]
    first = prepare(output, dest)
    monkeypatch.setattr(compact_groups, "read", lambda store: answers.pop() if answers else read(store))
    second = prepare(output, dest)
    assert [group.path for group in second.todo] == [group.path for group in first.todo]


def test_what_it_refuses(output: str, tmp_path: Path) -> None:
    dest = str(tmp_path / "dest")
    compact(output, dest)
    for source, target, said in (
        (str(tmp_path / "nothing"), dest, "no dataset here"),
        (output, f"{output}/compact", "lies in the dataset itself"),
        (dest, str(tmp_path / "again"), "is compacted already"),
    ):
        with pytest.raises(UserError, match=said):
            prepare(source, target)
    other = world.write(tmp_path / "o", [world.query("dog")], world.scattered(1, 3, ["dog"]), chunk_images=3)
    with pytest.raises(UserError, match="another dataset"):
        prepare(other, dest)
    gone = sorted(runs.digests(output, "masks"))[0]
    Store.of(output).delete(gone)
    with pytest.raises(UserError, match=r"1 of the parts in .* are gone from it"):
        prepare(output, dest)


def test_a_part_that_changes_while_it_is_read_makes_no_file(output: str, tmp_path: Path) -> None:
    dest = str(tmp_path / "dest")
    job = prepare(output, dest)
    Store.of(output).put(job.todo[0].parts[0].path, b"shorter")
    with pytest.raises(UserError, match="changed since it was listed"):
        Compactor(job.spec)(job.todo[0])
    assert not Store.of(dest).exists(job.todo[0].path)


def test_a_file_that_is_damaged_or_missing_is_named(output: str, tmp_path: Path) -> None:
    dest = str(tmp_path / "dest")
    first, *_, last = compact(output, dest)
    store = Store.of(dest)
    store.put(last, store.get(last)[:-100])
    store.delete(first)
    store.put("masks/set=ps-0000000000000000/x.parquet", b"")
    report = verification.verify(dest)
    text = report.text()
    assert f"{first}: missing; clipseg-ray compact writes it again" in text
    assert f"{last}: cannot be read" in text
    assert "x.parquet: is not made of parts that count" in text


@pytest.mark.parametrize("missed", ["by the first listing", "by every listing"])
def test_parts_that_another_compaction_has_seen_are_not_called_gone(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missed: str
) -> None:
    """A listing is of a moment, and of one while parts are put: what it lacks is asked for before it is accused."""
    dest, store, waiting = str(tmp_path / "dest"), Store.of(output), some_parts(output)
    for path in waiting:
        store.delete(path)
    compact(output, dest)
    listing, lists = Store.list_hashed, []

    def older(self: Store, prefix: str) -> Iterator[Entry]:
        lists.append(prefix)
        hidden = self.url == output and (missed == "by every listing" or lists.count(prefix) == 1)
        return (entry for entry in listing(self, prefix) if not (hidden and entry.path in waiting))

    for path, body in waiting.items():
        store.put(path, body)
    compact(output, dest)
    monkeypatch.setattr(Store, "list_hashed", older)
    job = prepare(output, dest)
    assert not job.todo
    assert tables(dest) == tables(output)
