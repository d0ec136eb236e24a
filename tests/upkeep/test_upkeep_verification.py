import json
import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from clipseg_ray import cli
from clipseg_ray.errors import UserError
from clipseg_ray.results import parts, schema, sets
from clipseg_ray.upkeep import verification
from clipseg_ray.upkeep.verification import verify
from tests.report import world


def part(output: str, folder: str, row: int = 0) -> Path:
    """The part of a folder that holds at least ``row`` + 1 rows."""
    return next(
        path for path in sorted(Path(output, folder).rglob("*.parquet")) if pq.read_metadata(path).num_rows > row
    )


def rewrite(path: Path, change, **facts) -> None:
    """Write a part again with another table, as our own writer does; ``facts`` besides those it has."""
    table = change(pq.ParquetFile(path).read())
    facts = schema.facts_of(table.schema) | facts
    if path.parent.name == "images":
        facts[parts.IMAGES_HASH] = parts.hash_of_images(table)
    path.write_bytes((parts.images_bytes if path.parent.name == "images" else parts.masks_bytes)(table, facts))


def setting(name, value, row=0):
    def change(table):
        values = table[name].to_pylist()
        values[row] = value(values[row]) if callable(value) else value
        index = table.column_names.index(name)
        return table.set_column(index, table.schema.field(index), pa.array(values, table.schema.field(index).type))

    return change


def test_a_run_is_sound(made):
    report = verify(made)
    assert report.sound, report.text()
    assert (report.images, report.masks) == (12, 33)
    assert report.text().endswith("everything agrees")


def test_over_s3(bucket, upload):
    assert verify(upload(f"{bucket}/masks")).sound


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (setting("counts", "hello"), "counts is no run-length encoding"),
        (setting("counts", "05"), "counts has another number of pixels than height × width"),
        (setting("area", lambda area: area + 1), "area is not that of counts"),
        (setting("bbox", {"x": 1, "y": 1, "w": 1, "h": 1}), "bbox is not that of counts"),
        (setting("coverage", 0.7), "coverage is not area / (height · width)"),
        (setting("score", 1.5), "score is no probability"),
        (setting("score", float("nan")), "score is no probability"),
        (setting("score_mean", 1.5), "score_mean is no probability"),
        (setting("image_width", 7), "image_width is not that of its image"),
        (setting("image_id", "s-000.tar/else"), "has no such image"),
        (setting("query_id", "another"), "has no such query in its set"),
        (lambda table: table.slice(1), "rows for"),
        (lambda table: pa.concat_tables([table, table.slice(0, 1)]), "has more than one mask of an image and a query"),
        (lambda table: table.append_column("more", pa.array([1] * len(table))), ""),
    ],
)
def test_faults_of_masks_are_named(output, change, said):
    path = part(output, "masks")
    if said:
        rewrite(path, change)
    else:
        pq.write_table(change(pq.ParquetFile(path).read()), path)
        said = "has other columns than the dataset's: more"
    report = verify(output)
    assert any(said in fault for fault in report.faults), report.text()
    assert all(fault.startswith(path.relative_to(output).as_posix()) for fault in report.faults)


def test_rows_out_of_order(output):
    path = part(output, "masks", 1)
    file = pq.ParquetFile(path)
    table = file.read()
    pq.write_table(table.take(pa.array(range(table.num_rows - 1, -1, -1))).cast(file.schema_arrow), path)
    assert [fault.partition(": ")[2] for fault in verify(output).faults] == [
        "its rows are not sorted by query and image"
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (setting("status", "lost"), "status is none there is"),
        (setting("shard", "0" * 16), "shard is not"),
        (setting("chunk", 5), "chunk is not"),
        (lambda table: table.slice(1), "rows, its chunk"),
    ],
)
def test_faults_of_images_are_named(output, change, said):
    rewrite(part(output, "images"), change)
    assert any(said in fault for fault in verify(output).faults)


def test_damaged_and_cut_files(output):
    first, second = sorted(Path(output, "masks").rglob("*.parquet"))[:2]
    first.write_bytes(first.read_bytes()[:-100])
    body = bytearray(second.read_bytes())
    body[40:60] = bytes(20)
    second.write_bytes(body)
    named = {fault.partition(": ")[0] for fault in verify(output).faults}
    assert named == {path.relative_to(output).as_posix() for path in (first, second)}


def test_what_is_missing_is_named(output):
    part(output, "masks").unlink()
    part(output, "images").unlink()
    next(Path(output, "_shards").iterdir()).unlink()
    report = verify(output)
    assert not report.sound
    assert any(item.chunk is None for item in report.missing) or len(report.missing) >= 1
    assert report.faults == []
    assert "which a run into the same output computes" in report.text()


def test_queries_that_changed(output):
    path = part(output, "queries")
    pq.write_table(setting("digest", "0" * 64)(pq.read_table(path)), path)
    assert "query 'circle' is not as the set's claim has it" in verify(output).text()
    path.unlink()
    assert "queries/" in verify(output).faults[0]


def test_equal_image_ids(output):
    """Two chunks whose parts agree with themselves, but share an id."""
    paths = sorted(Path(output, "images").iterdir())
    ids = [pq.read_table(path)["image_id"][0].as_py() for path in paths[:2]]
    rewrite(paths[1], setting("image_id", ids[0]))
    masks = next(path for path in Path(output, "masks").rglob(paths[1].name))

    def renamed(table):
        named = pc.if_else(pc.equal(table["image_id"], ids[1]), ids[0], table["image_id"])
        return table.set_column(0, table.schema.field(0), named)

    rewrite(masks, renamed, **{parts.IMAGES_HASH: parts.hash_of_images(pq.read_table(paths[1]))})
    assert f"image_id {ids[0]!r} occurs 2 times" in verify(output).text()


def test_orphans_are_named_and_removed(output, monkeypatch, capsys):
    masks = part(output, "masks")
    orphans = [
        Path(output, "masks/set=ps-0123456789abcdef", masks.name),
        masks.with_name("0123456789abcdef-000000.parquet"),
        masks.with_name(masks.name.replace("-000000", "-000099")),
        masks.with_name("copy.parquet"),
        Path(output, "images/old.parquet"),
        Path(output, "queries/ps-0123456789abcdef.parquet"),
        masks.with_name(".part.parquet.1234.tmp"),
    ]
    for orphan in orphans:
        orphan.parent.mkdir(exist_ok=True)
        orphan.write_bytes(masks.read_bytes())
    os.utime(orphans[-1], (time.time() - 7200,) * 2)
    being_written = masks.with_name(".part.parquet.5678.tmp")
    notes = Path(output, "notes.txt")
    for file in (being_written, notes):
        file.write_text("mine")
    named = {path.relative_to(output).as_posix() for path in orphans}
    report = verify(output)
    assert {orphan.path for orphan in report.orphans} == named
    assert report.unrecognised == ["notes.txt"]
    assert (report.faults, report.missing) == ([], [])

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["clipseg-ray", "verify", output, *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr().out

    code, text = call()
    assert code == 1
    assert all(path.exists() for path in orphans)
    code, text = call("--fix")
    assert code == 0
    assert all(f"  {path}" in text.partition("removing 7 files:")[2] for path in named)
    assert not any(path.exists() for path in orphans)
    assert being_written.exists()
    assert notes.exists()
    assert call()[0] == 0


def test_a_live_run_s_parts_are_no_orphans(tmp_path, monkeypatch):
    """Another run claims a set and puts its parts as soon as the claims have been read."""
    shards = world.scattered(1, 4, ["dog", "cat"])
    output = world.write(tmp_path, [world.query("dog")], shards)
    read, once = sets.read, [True]

    def then_claim(store):
        found = read(store)
        if once and once.pop():
            world.add_queries(output, [world.query("cat")], shards, 4)
        return found

    monkeypatch.setattr(sets, "read", then_claim)
    assert verify(output).orphans == []
    assert not once
    assert verify(output).sound


def test_where_there_is_no_dataset(tmp_path):
    with pytest.raises(UserError, match="no dataset here"):
        verify(str(tmp_path))


def test_a_cut_transfer_is_no_damage(output, monkeypatch):
    """What comes is held against what is listed; what is damaged where it is stored is listed as it is."""
    cut, real = [1], verification.get_all

    def transfer(urls):
        bodies = real(urls)
        if cut and "/masks/" in urls[-1]:
            cut.pop()
            bodies[-1] = bodies[-1][:-10]
        return bodies

    monkeypatch.setattr(verification, "get_all", transfer)
    assert verify(output).sound
    assert not cut
    cut += [1] * 9
    with pytest.raises(UserError, match=r"masks/.*: \d+ bytes came of \d+ listed, 3 times; the transfer is at fault"):
        verify(output)
    cut.clear()
    path = part(output, "masks")
    path.write_bytes(path.read_bytes()[:-10])
    assert f"{path.name}: cannot be read" in verify(output).text()


def test_a_query_is_taken_for_phrases_by_its_definition_not_by_its_id(tmp_path):
    """Ids of tables never begin so, but what reads a dataset need not rely on it."""
    pictures = world.scattered(1, 3, ["from:dog"])
    output = world.write(tmp_path, [world.query("from:dog")], pictures, chunk_images=3)
    assert verify(output).sound
    rewrite(part(output, "masks"), setting("query_id", "another"))
    assert "has no such query in its set" in verify(output).text()


def test_a_fix_follows_no_link(output, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    kept = tmp_path / "elsewhere" / "0000000000000000-000000.parquet"
    kept.write_bytes(b"somebody's")
    next(Path(output, "masks").iterdir()).joinpath("deep").symlink_to(tmp_path / "elsewhere")
    Path(output, "images", "deep").symlink_to(tmp_path / "elsewhere")
    cli.app(["verify", output, "--fix"], standalone_mode=False)
    assert kept.read_bytes() == b"somebody's"
    assert verify(output).sound


@pytest.mark.parametrize("name", ["../../elsewhere", "a/b", "ps-1234", "/etc", "ps-0123456789abcdef/..", 7])
def test_a_set_has_a_name_that_a_run_writes(output, name):
    (claim,) = sorted(Path(output, "_sets").glob("*.json"))[:1]
    values = json.loads(claim.read_text())
    claim.write_text(json.dumps(values | {"name": name}))
    with pytest.raises(UserError, match=r"_sets/000000\.json: .* is no name of a prompt set"):
        verify(output)
