"""Parts: put where none is, never over another; of the images and the settings that they say."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from clipseg_ray import config
from clipseg_ray.cli import app
from clipseg_ray.errors import UserError
from clipseg_ray.pipeline.plan import look
from clipseg_ray.results import agreement, layout, parts, record, schema
from clipseg_ray.results.parts import Occupied, PartIndex
from clipseg_ray.storage import Store
from clipseg_ray.tables import read_parquet
from clipseg_ray.upkeep.verification import fix, verify

NAME = f"{layout.IMAGES}/{layout.part_name('0' * 16, 0)}"


def images(*statuses: str) -> pa.Table:
    """A chunk of images with these statuses."""
    rows = [
        {"image_id": f"a/{i}", "key": str(i), "shard": "0" * 16, "chunk": 0, "source_url": "x", "status": status}
        for i, status in enumerate(statuses)
    ]
    return pa.Table.from_pylist(rows, schema.IMAGES)


def body(table: pa.Table, fingerprint: str = "f", group_rows: int | None = None) -> bytes:
    """Its part."""
    facts = {"fingerprint": fingerprint, parts.IMAGES_HASH: parts.hash_of_images(table)}
    return parts.images_bytes(table, facts, group_rows)


def check_put(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that may be at a part's place when it is to be put."""
    mine = body(images("ok", "ok"))
    parts.put(store, NAME, mine)
    parts.put(store, NAME, mine)
    parts.put(store, NAME, body(images("ok", "ok"), group_rows=1))
    assert store.get(NAME) == mine, "equal rows are done, whatever their bytes"
    for other, why in (
        (body(images("ok", "missing")), "it is of other images or statuses"),
        (body(images("ok", "ok"), "g"), "made with other settings"),
        (body(images("ok")), "it is of other images"),
    ):
        with pytest.raises(Occupied, match=why):
            parts.put(store, NAME, other)
        assert store.get(NAME) == mine
    store.put(NAME, b"")
    assert not PartIndex.listed(store, [layout.IMAGES]).count(layout.IMAGES)
    parts.put(store, NAME, mine)
    assert store.get(NAME) == mine, "what has no bytes is no part"
    store.put(NAME, mine[:-50])
    with pytest.raises(Occupied, match="it cannot be read"):
        parts.put(store, NAME, mine)
    store.delete(NAME)

    create = Store.create

    def answer_lost(self: Store, path: str, data: bytes) -> None:
        create(self, path, data)
        raise TimeoutError("no answer")

    monkeypatch.setattr(Store, "create", answer_lost)
    parts.put(store, NAME, mine)
    assert store.get(NAME) == mine
    monkeypatch.setattr(Store, "create", lambda *_: (_ for _ in ()).throw(TimeoutError("no answer")))
    store.delete(NAME)
    with pytest.raises(TimeoutError, match="no answer"):
        parts.put(store, NAME, mine)


def test_a_part_is_put_where_none_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_put(Store.of(str(tmp_path)), monkeypatch)


def test_a_part_is_put_where_none_is_on_s3(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_put(Store.of(f"{bucket}/out"), monkeypatch)


def made_with(**changes: Any) -> record.DatasetRecord:
    return record.DatasetRecord(input={"root": "x", "id_field": None, **changes}, model={}, masks={}, compute={})


def test_the_first_record_says_whether_storage_refuses_to_create_twice(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for store in (Store.of(f"{bucket}/out"), Store.of(str(tmp_path / "out"))):
        record.create(store, made_with())
        assert record.require(store).exclusive_create
        with pytest.raises(FileExistsError):
            record.create(store, made_with())
        assert record.require(store).exclusive_create
    monkeypatch.setattr(Store, "create", Store.put)  # as servers do that do not know the header
    for store in (Store.of(f"{bucket}/other"), Store.of(str(tmp_path / "other"))):
        record.create(store, made_with())
        found = record.require(store)
        assert not found.exclusive_create
        assert not found.changed
        assert found.fingerprint == made_with().fingerprint


def test_a_record_that_was_edited_is_known(tmp_path: Path) -> None:
    store = Store.of(str(tmp_path))
    record.create(store, made_with(limit=3))
    assert not record.require(store).changed
    values = json.loads(store.get(layout.DATASET))
    store.put(layout.DATASET, json.dumps(values).encode())
    assert not record.require(store).changed, "only what it says counts"
    for section, key, value in (("input", "limit", 4), ("input", "root", "y"), ("masks", "more", True)):
        edited = {**values, section: {**values[section], key: value}}
        store.put(layout.DATASET, json.dumps(edited).encode())
        assert record.require(store).changed
        with pytest.raises(UserError, match="was changed since it was written"):
            record.read_to_write(store)


def test_no_new_record_over_parts(output: str) -> None:
    store = Store.of(output)
    fingerprint = record.require(store).fingerprint
    store.delete(layout.DATASET)
    for refused in (
        lambda: record.create(store, made_with()),
        lambda: look(
            config.parse({"input": {"url": "/elsewhere"}, "output": {"url": output}, "queries": {"from": "x"}})
        ),
    ):
        with pytest.raises(UserError, match=rf"of fingerprint {fingerprint}\) and no _dataset\.json"):
            refused()
    assert not store.exists(layout.DATASET)


def test_a_dataset_of_version_1_is_refused_with_one_line(output: str) -> None:
    path = Path(output, layout.DATASET)
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 1}))
    for verb in (["status", output], ["verify", output], ["show", output], ["query", output, "SELECT 1"]):
        error = CliRunner().invoke(app, verb).exception
        assert isinstance(error, UserError), verb
        assert str(error) == (
            f"{path}: schema version 1, this release writes 2; read it with the release that wrote it or choose "
            "another output.url"
        )


def masks_of(output: str) -> Path:
    return min(path for path in Path(output, "masks").rglob("*.parquet") if pq.read_metadata(path).num_rows)


def put_again(path: Path, **facts: Any) -> None:
    table = read_parquet(path.read_bytes())
    path.write_bytes(parts.masks_bytes(table, schema.facts_of(table.schema) | facts))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({parts.IMAGES_HASH: "0" * 16}, "was put with other images than there are"),
        ({"fingerprint": "0" * 16}, "is of a dataset with other settings (fingerprint 0000000000000000"),
    ],
)
def test_masks_of_other_images_or_settings_are_named(output: str, facts: dict[str, Any], said: str) -> None:
    assert agreement.disagreeing(output) == ()
    path = masks_of(output)
    put_again(path, **facts)
    relative = path.relative_to(output).as_posix()
    assert agreement.disagreeing(output) == (relative,)
    shown = CliRunner().invoke(app, ["status", output, "--deep"]).output
    assert (
        f"1 masks part(s) do not go with their images part or the record; clipseg-ray verify says how:\n  {relative}"
        in shown
    )
    assert json.loads(CliRunner().invoke(app, ["status", output, "--deep", "--json"]).output)["deep"]["disagreeing"]
    (fault,) = verify(output).faults
    assert fault.startswith(f"{relative}: {said}")


def test_masks_of_another_set_are_named(output: str) -> None:
    path = masks_of(output)
    table = read_parquet(path.read_bytes())
    index = table.column_names.index("prompt_set")
    other = table.set_column(index, table.schema.field(index), pa.repeat("ps-0", table.num_rows))
    path.write_bytes(parts.masks_bytes(other, schema.facts_of(table.schema)))
    assert "prompt_set is not ps-" in verify(output).text()


def test_an_edited_record_is_not_sound(output: str) -> None:
    path = Path(output, layout.DATASET)
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "input": {**values["input"], "root": "elsewhere"}}))
    assert verify(output).faults == [f"{layout.DATASET}: was changed since it was written; its sha256 is another"]


def test_an_empty_file_is_no_part(output: str) -> None:
    path = masks_of(output)
    path.write_bytes(b"")
    report = verify(output)
    assert [(orphan.path, orphan.why) for orphan in report.orphans] == [
        (path.relative_to(output).as_posix(), "without a byte, so no part")
    ]
    assert len(report.missing) == 1
    fix(output, report)
    assert not path.exists()


def test_every_flipped_bit_of_a_page_is_seen(output: str) -> None:
    """Pages of masks and images; what lies outside them (statistics, indexes) changes no row."""
    for folder in ("masks", "images"):
        path = masks_of(output) if folder == "masks" else min(Path(output, folder).iterdir())
        data = path.read_bytes()
        table = read_parquet(data)
        metadata = pq.read_metadata(path)
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(0).column(column)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            for at in range(start, start + chunk.total_compressed_size, 7):
                flipped = bytearray(data)
                flipped[at] ^= 1 << at % 8
                try:
                    assert read_parquet(bytes(flipped)).equals(table)
                except (OSError, pa.ArrowException):
                    continue
